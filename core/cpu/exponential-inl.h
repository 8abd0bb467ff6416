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

// exp(x) for x <= 0, -inf included, to 2 units in the last place. Results below 2^-126 are 0: they carry nothing, and
// denormal numbers cost a hundred times an ordinary one. A third less work than Highway's, which also takes x > 0.
template <class Tag, class V>
HWY_INLINE V Exponential(Tag tag, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<Tag> ints;
  const auto set = [tag](float c) HWY_ATTR { return hn::Set(tag, c); };
  // x = n ln 2 + r, |r| <= ln 2 / 2, ln 2 in two parts so that the first product is exact.
  const V n = hn::Round(hn::Mul(x, set(1.44269504f)));
  const V r = hn::NegMulAdd(n, set(-2.12194440e-4f), hn::NegMulAdd(n, set(0.693359375f), x));
  // exp(r) = 1 + r + r^2 p(r): the minimax polynomial of Moshier's Cephes library.
  V p = hn::MulAdd(set(1.9875691500e-4f), r, set(1.3981999507e-3f));
  p = hn::MulAdd(p, r, set(8.3334519073e-3f));
  p = hn::MulAdd(p, r, set(4.1665795894e-2f));
  p = hn::MulAdd(p, r, set(1.6666665459e-1f));
  p = hn::MulAdd(p, r, set(5.0000001201e-1f));
  p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), set(1.0f));
  // 2^n by its bits: n >= -126.
  const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(ints, n), hn::Set(ints, 127)));
  return hn::IfThenElseZero(hn::Ge(x, set(-87.33f)), hn::Mul(p, hn::BitCast(tag, exponent)));
}

}  // namespace kvreplay::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
