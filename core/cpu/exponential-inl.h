// exp() of what a softmax meets, for the SIMD kernels. Included once per instruction set.

#if defined(KVREPLAY_EXPONENTIAL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef KVREPLAY_EXPONENTIAL_INL_H
#undef KVREPLAY_EXPONENTIAL_INL_H
#else
#define KVREPLAY_EXPONENTIAL_INL_H
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvreplay::cpu::HWY_NAMESPACE {

// exp(x) for x <= 0, -inf included, to 2 units in the last place, exactly 1 for 0. Results below 2^-126 are 0: they
// carry nothing, and denormal numbers cost a hundred times an ordinary one. Half of the work of Highway's, which also
// takes x > 0.
template <class Tag, class V>
HWY_INLINE V Exponential(Tag tag, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<Tag> ints;
  const auto set = [tag](float c) HWY_ATTR { return hn::Set(tag, c); };
  // x = n ln 2 + r, |r| <= ln 2 / 2, ln 2 in two parts so that the first product is exact. Beside 1.5 * 2^23 a float
  // has no room for fractions: the sum rounds to n, and its last bits are those of the integer n.
  const V big = set(0x1.8p23f);
  const V shifted = hn::MulAdd(x, set(1.44269504f), big);
  const V n = hn::Sub(shifted, big);
  const V r = hn::NegMulAdd(n, set(-2.12194440e-4f), hn::NegMulAdd(n, set(0.693359375f), x));
  // The polynomial of degree 5 with p(0) = 1 and the smallest largest relative error from exp(r): 9.2e-8.
  V p = hn::MulAdd(set(8.290272139e-3f), r, set(4.189815980e-2f));
  p = hn::MulAdd(p, r, set(1.666763813e-1f));
  p = hn::MulAdd(p, r, set(4.999914784e-1f));
  p = hn::MulAdd(p, r, set(9.999997063e-1f));
  p = hn::MulAdd(p, r, set(1.0f));
  // Times 2^n, by adding n to the exponent.
  const auto power = hn::Add(hn::BitCast(ints, p), hn::ShiftLeft<23>(hn::BitCast(ints, shifted)));
  return hn::IfThenElseZero(hn::Ge(x, set(-87.33f)), hn::BitCast(tag, power));
}

}  // namespace kvreplay::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
