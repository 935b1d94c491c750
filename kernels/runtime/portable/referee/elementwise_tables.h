// Tables 1 and 2 of docs/numerics/elementwise.md.
#pragma once

#include <vector>

namespace referee {

using Table = std::vector<double>;

inline const Table EXP{
    0x1.fffffffff615bp-1, 0x1.fffffffffe048p-2, 0x1.5555557e90c81p-3, 0x1.55555565d1ffbp-5,
    0x1.1110a5eb56603p-7, 0x1.6c166bbb7fd49p-10, 0x1.a17e4e342227ap-13, 0x1.a136f968afca4p-16};
inline const Table EXP2{
    0x1.62e42fef9cc69p-1, 0x1.ebfbdff82a734p-3, 0x1.c6b08da70cce3p-5, 0x1.3b2ab70ad2565p-7,
    0x1.5d877598350dep-10, 0x1.4308c7183d6a2p-13, 0x1.00c0e4e15189cp-16, 0x1.63b2d7971923fp-20};
inline const Table LOG{
    0x1.00000000003d2p+0, -0x1.ffffffffbe94ep-2, 0x1.5555555191743p-2, -0x1.0000004a692d7p-2,
    0x1.99999eb52a0abp-3, -0x1.5555271e49d97p-3, 0x1.2490f1832168bp-3, -0x1.0005a3607488fp-3,
    0x1.c7737f21fde3ep-4, -0x1.99151feb20f1cp-4, 0x1.6ec333b6e3300p-4, -0x1.54aea122c9debp-4,
    0x1.666aa6302fb3fp-4, -0x1.5ad81ea89aee3p-4, 0x1.5e07203fdaa55p-5};
inline const Table SIN{
    -0x1.5555555555166p-3, 0x1.1111110fd28f6p-7, -0x1.a019fd982098fp-13, 0x1.71d9a79f56580p-19,
    -0x1.aa274349368afp-26};
inline const Table COS{
    -0x1.ffffffffffffap-2, 0x1.555555555411dp-5, -0x1.6c16c1691a7f5p-10, 0x1.a019fc7759745p-16,
    -0x1.27e0f36a8c1d3p-22, 0x1.1c058a98ce289p-29};
inline const Table ATAN{
    0x1.ffffffffff5ccp-1, -0x1.5555555316212p-2, 0x1.999998469d323p-3, -0x1.24922161af34dp-3,
    0x1.c717834559cfep-4, -0x1.742d65ac65c77p-4, 0x1.39e23d1599a8ep-4, -0x1.0bb9539dc5436p-4,
    0x1.bf2393efe8459p-5, -0x1.5ab9279e2b201p-5, 0x1.d17abe7889664p-6, -0x1.f323674b044a5p-7,
    0x1.850bdf56a80b6p-8, -0x1.807a77421f2f7p-10, 0x1.657b3ba0095aep-13};
inline const Table ERF_P{
    0x1.20dd7504227f4p+0, 0x1.94f658aee1528p-3, 0x1.d8e12b9347857p-5, 0x1.3d5a7424f4ac8p-8,
    0x1.0928b860ba4dep-11, 0x1.60ba924b6c18ap-16, 0x1.92c47f7e3047ap-21, 0x1.a91b4cd2e52a6p-29};
inline const Table ERF_Q{
    0x1.0000000000000p+0, 0x1.0463879b9a25ep-1, 0x1.ee4f35eac1449p-4, 0x1.1e3df0c1b645ep-6,
    0x1.b92d578d6d423p-10, 0x1.c8f946b3b3406p-14, 0x1.27cad6df02794p-18, 0x1.3f7c9bc0f4414p-24};
inline const Table ERFC_P{
    0x1.0000000001610p+0, 0x1.9d9238755e483p+0, 0x1.4854d86f4f4fap+0, 0x1.39c11b0f4e650p-1,
    0x1.78bbae4c3e3bap-3, 0x1.0e0c4f6e463f8p-5, 0x1.6f61be0763b7ep-9};
inline const Table ERFC_Q{
    0x1.0000000000000p+0, 0x1.5f37d6bd384cbp+1, 0x1.b079117eb4a21p+1, 0x1.3780941995941p+1,
    0x1.1d8a673b794e7p+0, 0x1.5069e0f1dba3bp-2, 0x1.dea5ea19e1224p-5, 0x1.459566ec6dd5dp-8};
inline const Table ERF_INV_P{
    0x1.c5bf891b506e8p-1, 0x1.0c54e1ba9774fp-1, 0x1.0e940b0bb6169p-3, 0x1.85e42011a0415p-6,
    0x1.a1c398a72278dp-9, 0x1.546923aec8821p-12, 0x1.bbf9704377494p-16, 0x1.f0972ea6a01b8p-20,
    0x1.e8ae135699240p-24, 0x1.bac4c33e04ba3p-32};
inline const Table ERF_INV_Q{
    0x1.0000000000000p+0, 0x1.517a183ef1cafp-2, 0x1.97b0eeceacb04p-5, 0x1.8e8f7bd06265cp-7,
    0x1.97145a77d8752p-11, 0x1.12213f6feb47ep-13, 0x1.579aae17922bap-18, 0x1.55a37223172e4p-21,
    0x1.6cace8128254ep-27};
inline const Table EXP64{
    0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-13, 0x1.a01a01a01a01ap-16, 0x1.71de3a556c734p-19,
    0x1.27e4fb7789f5cp-22, 0x1.ae64567f544e4p-26, 0x1.1eed8eff8d898p-29, 0x1.6124613a86d09p-33,
    0x1.93974a8c07c9dp-37, 0x1.ae7f3e733b81fp-41, 0x1.ae7f3e733b81fp-45};
inline const Table SIN64{
    -0x1.a01a01a01a01ap-13, 0x1.71de3a556c734p-19, -0x1.ae64567f544e4p-26, 0x1.6124613a86d09p-33,
    -0x1.ae7f3e733b81fp-41, 0x1.952c77030ad4ap-49, -0x1.2f49b46814157p-57};
inline const Table COS64{
    -0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-16, -0x1.27e4fb7789f5cp-22, 0x1.1eed8eff8d898p-29,
    -0x1.93974a8c07c9dp-37, 0x1.ae7f3e733b81fp-45, -0x1.6827863b97d97p-53, 0x1.e542ba4020225p-62};

}  // namespace referee
