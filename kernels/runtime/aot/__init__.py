"""Programs compiled at build (docs/aot.md): made under the declared CPU, loaded on nodes, where nothing is compiled."""
