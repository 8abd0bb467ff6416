// exp() of what a softmax meets, for the SIMD kernels. Included once per instruction set.

#if defined(KVREPLAY_EXPONENTIAL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef KVREPLAY_EXPONENTIAL_INL_H
#undef KVREPLAY_EXPONENTIAL_INL_H
#else
#define KVREPLAY_EXPONENTIAL_INL_H
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvreplay::cpu::HWY_NAMESPACE {

// exp(x) for x <= 0, -inf included, without the denormal results: they carry nothing, and cost a hundred times an
// ordinary number.
template <class Tag, class V>
HWY_INLINE V Exponential(Tag tag, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V smallest = hn::Set(tag, -87.33f);
  return hn::IfThenElseZero(hn::Gt(x, smallest), hn::Exp(tag, hn::Max(x, smallest)));
}

}  // namespace kvreplay::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
