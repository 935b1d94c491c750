// The coefficients of the special functions (docs/numerics/special.md, table 3), lowest power first.
#pragma once

#include "native/math64.h"

namespace portable::f64 {

inline constexpr Pair kErfcFirst = {0x1.3ba5916e9fd7fp+0, -0x1.a72633ec82837p-55};
inline constexpr Pair kTwoOverRootPi = {0x1.20dd750429b6dp+0, 0x1.1ae3a914fed8p-56};
inline constexpr Pair kEuler = {0x1.2788cfc6fb619p-1, -0x1.6cb90701fbfabp-58};
inline constexpr Pair kOneLessEuler = {0x1.b0ee6072093cep-2, 0x1.6cb90701fbfabp-58};
inline constexpr Pair kTwelfth = {0x1.5555555555555p-4, 0x1.5555555555555p-58};
inline constexpr Pair kLogRoot = {0x1.acfe390c97d69p-2, 0x1.3494bc9001442p-56};
inline constexpr Pair kBessel0First = {0x1.9bd428ad249a5p-2, -0x1.d52d7cc93e52dp-56};
inline constexpr Pair kBessel1First = {0x1.8ebe783a8403p-2, -0x1.490e8996eba5fp-58};
inline constexpr double kHalfRootPi = 0x1.c5bf891b4ef6bp-1;

inline constexpr double kErfc[] = {-0x1.1df1ad154a28ep-3, 0x1.f7f5df66fd75bp-7, 0x1.16ecefcfa52c8p-4,
    -0x1.9ddb23c3e8d5ap-4, 0x1.7fee004e1492cp-4, -0x1.0fb06dfe4f7fp-4, 0x1.3079edf625c48p-5, -0x1.09623883a9e7ep-6,
    0x1.49c672a7a4f07p-8, -0x1.8d4a9b5fff35bp-11, -0x1.a1df42f217bf8p-13, 0x1.3be05b784d53bp-13,
    -0x1.9955163aec70fp-16, -0x1.788accc117984p-17, 0x1.7ef71492f481bp-18, 0x1.3b22dff9ee8f1p-22,
    -0x1.b813673a806e6p-21, 0x1.41b80d8495bf3p-24, 0x1.bc3102138aa01p-24, -0x1.358dc6ea94277p-26,
    -0x1.4daca13e679c1p-27, 0x1.fa2207c03929bp-30};
inline constexpr double kErf[] = {-0x1.812746b0379e7p-2, 0x1.ce2f21a042bcfp-4, -0x1.b82ce31286ca6p-6,
    0x1.565bcd0d2f387p-8, -0x1.c02db3355a85bp-11, 0x1.f9a2dd80b8e28p-14, -0x1.f4c2b3b43d826p-17,
    0x1.b7f30850d4779p-20, -0x1.3d8b39d540c54p-23};
inline constexpr double kGammaOne[] = {0x1.a51a6625307d3p-1, -0x1.9a4d55beab2d8p-2, 0x1.151322ac7d849p-2,
    -0x1.a8b9c17aa5857p-3, 0x1.5b40cb100ba79p-3, -0x1.2703a1dd8753ep-3, 0x1.010b36b01c581p-3, -0x1.c8066fd0db5d2p-4,
    0x1.9a01e2f04d71p-4, -0x1.748c5d31b314cp-4, 0x1.556afe73420c9p-4, -0x1.3b16f32ff3c9cp-4, 0x1.2490873378042p-4,
    -0x1.11b44a9f5f521p-4, 0x1.009ae9cae11ebp-4, -0x1.cfeedc8b0ac0ep-5, 0x1.b5f60d1606515p-5, -0x1.1bc9551dba19cp-4,
    0x1.0df342fbcc3dfp-4};
inline constexpr double kGammaTwo[] = {0x1.4a34cc4a60fa6p-2, -0x1.13e001a557607p-4, 0x1.51322ac7d8484p-6,
    -0x1.e404fc218f19ap-8, 0x1.7add6eadb6816p-9, -0x1.38ac5c2cb4552p-10, 0x1.0b36af86ea77dp-11,
    -0x1.d3fd4ab93bc11p-13, 0x1.a127af4cabbdep-14, -0x1.78df6b644a7c3p-15, 0x1.580ecf5933cabp-16,
    -0x1.3c6427dbcb33ap-17, 0x1.254420c6d399p-18, -0x1.20495c2b69aefp-19, 0x1.0e2b409791517p-20};
inline constexpr double kErfInvFar[] = {0x1.4def3a62fc911p-4, 0x1.66816320a4ba9p-1, 0x1.2e1553e1c2e15p-3,
    -0x1.45b21770a3af8p-5, 0x1.af4c3dcc927ddp-8, -0x1.5e66f59e5c1f9p-11, 0x1.41fd1fe99629fp-15,
    -0x1.0122e1b33e363p-20};
inline constexpr double kStirling[] = {-0x1.6c16c16c16c17p-9, 0x1.a01a01a01a01ap-11, -0x1.3813813813814p-11,
    0x1.b951e2b18ff23p-11, -0x1.f6ab0d9993c7dp-10, 0x1.a41a41a41a41ap-8, -0x1.e4286cb0f5398p-6, 0x1.6fe96381e068p-3,
    -0x1.6476701181f3ap+0, 0x1.ace44322ce006p+3};
inline constexpr double kPsi[] = {0x1.5555555555555p-4, -0x1.1111111111111p-7, 0x1.041041041041p-8,
    -0x1.1111111111111p-8, 0x1.f07c1f07c1f08p-8, -0x1.5995995995996p-6, 0x1.5555555555555p-4, -0x1.c5e5e5e5e5e5ep-2,
    0x1.86e7f9b9fe6e8p+1, -0x1.a74ca514ca515p+4, 0x1.1975cc0ed7304p+8};
inline constexpr double kBessel0[] = {0x1p+0, 0x1p-2, 0x1.c71c71c71c71cp-6, 0x1.c71c71c71c71cp-10,
    0x1.23456789abcdfp-14, 0x1.02e85c0898b71p-19, 0x1.522a43f65486ap-25, 0x1.522a43f65486ap-31, 0x1.0b313289be0b9p-37,
    0x1.5601885e63e5dp-44, 0x1.69ca9cf3b7f54p-51, 0x1.4197a7f5154bcp-58, 0x1.e725594ee52e9p-66, 0x1.3e22d70ef3b5fp-73,
    0x1.69f7da8510bcdp-81, 0x1.69f7da8510bcdp-89, 0x1.40a2dc2460523p-97, 0x1.faaf2fa1c79e5p-106,
    0x1.674f8e46c208cp-114, 0x1.cbeaf38dc529fp-123, 0x1.0afb53e9cec0bp-131, 0x1.1a6d4e307528fp-140,
    0x1.1159d2b18fe1fp-149, 0x1.e5f504c9e358cp-159, 0x1.8e189760fbc74p-168, 0x1.2d843c1f0a6f9p-177,
    0x1.a787875e855a5p-187, 0x1.149733d53cf71p-196};
inline constexpr double kBessel1[] = {0x1p-1, 0x1.5555555555555p-4, 0x1.c71c71c71c71cp-8, 0x1.6c16c16c16c17p-12,
    0x1.845c8a0ce5129p-17, 0x1.27e4fb7789f5cp-22, 0x1.522a43f65486ap-28, 0x1.2c9758daf5cdp-34, 0x1.ab81ea75fcdf4p-41,
    0x1.f17697cf1cf13p-48, 0x1.e2637bef9ff1ap-55, 0x1.8bce58901a35ep-62, 0x1.165e7c2d153f3p-69, 0x1.53585cdcbfb1p-77,
    0x1.69f7da8510bcdp-85, 0x1.54ad09e6a6575p-93, 0x1.1d028acb00491p-101, 0x1.aaae78f4066a6p-110,
    0x1.1f72d8389b3a3p-118, 0x1.5e69de22df5cep-127, 0x1.84564b82a1184p-136, 0x1.88f11edf3ed4cp-145,
    0x1.6c77c3976a829p-154, 0x1.37033643c4b3bp-163, 0x1.e9f6e1b270f54p-173, 0x1.655a5a37c0843p-182,
    0x1.e4089ab52ab05p-192, 0x1.313415e2783ccp-201};
inline constexpr double kBessel0Far[] = {0x1.b87969bb93bd5p-9, 0x1.1daa72b5e70c2p-13, 0x1.75e5ee6f7963ap-17,
    0x1.8e5139f4e7d8cp-20, 0x1.3f49b07c0b1eep-22, 0x1.7d0fc559fcc09p-24, 0x1.51ca447c31f99p-25, 0x1.72127b0c1962ap-26,
    0x1.0426bb59f9598p-27, -0x1.cc20c80451a69p-28, -0x1.cfea3e2102433p-27, -0x1.83ba177f62a3fp-28,
    0x1.0f655097f6b09p-27, 0x1.188e2c832c482p-27, -0x1.2eccb92101ccfp-28, -0x1.02cc5da24290dp-27,
    0x1.b6694adda4093p-29, 0x1.9d42e39c8d9fcp-28, -0x1.80a4fcd088051p-29, -0x1.1a78eb8695179p-28,
    0x1.39648c0f49becp-29, 0x1.3345ddb37fc02p-29, -0x1.8d90f1a069044p-30, -0x1.e4146b197108fp-31,
    0x1.5fd9b131ce63fp-31, 0x1.e1cd9786407cfp-33, -0x1.7da329cb9bab4p-33, -0x1.c1f99aab7dbdep-36,
    0x1.7bfd91219dc0ep-36};
inline constexpr double kBessel1Far[] = {-0x1.3f796198ee63fp-7, -0x1.cbc54df1edaa4p-13, -0x1.f89c230415712p-17,
    -0x1.ec8e0fed212d1p-20, -0x1.761387b85379fp-22, -0x1.ad8e0a10b53a3p-24, -0x1.7276133056692p-25,
    -0x1.916dfe0da7fe7p-26, -0x1.222026586b33ep-27, 0x1.cb1293fab6e86p-28, 0x1.e546742663895p-27,
    0x1.ab8ea3802f739p-28, -0x1.120d664627461p-27, -0x1.295984e996bd8p-27, 0x1.2750fbf1c29d4p-28,
    0x1.0f0673b1fa815p-27, -0x1.a4bba7fbc31b6p-29, -0x1.aef74e2c8036ap-28, 0x1.738c116ca1ad5p-29,
    0x1.265304c379e84p-28, -0x1.31fcf45bdaaabp-29, -0x1.404e97e1345dap-29, 0x1.87427d26051e7p-30,
    0x1.f9063ad342309p-31, -0x1.5c145551bd414p-31, -0x1.f71200518da79p-33, 0x1.7adba2d488bf6p-33,
    0x1.d630d4a892baap-36, -0x1.7a2002a1aaabfp-36};
inline constexpr double kZeta[] = {0x1.5555555555555p-4, -0x1.6c16c16c16c17p-10, 0x1.1566abc011567p-15,
    -0x1.bbd779334ef0bp-21, 0x1.66a8f2bf70ebep-26, -0x1.22805d644267fp-31, 0x1.d6db2c4e09162p-37,
    -0x1.7da4e1f79955cp-42, 0x1.355871d652e9ep-47, -0x1.f57d968caacf1p-53, 0x1.967e1f09c376fp-58,
    -0x1.497d9033a2b5cp-63};

}  // namespace portable::f64
