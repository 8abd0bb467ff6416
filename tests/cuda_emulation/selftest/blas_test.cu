// The libraries' calls against loops in double.

#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cusolverDn.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "tests/cuda_emulation/selftest/device_array.h"
#include "tests/cuda_emulation/selftest/number_sequence.h"

namespace kvreplay::testing {
namespace {

class BlasHandle {
 public:
  explicit BlasHandle(const TestStream& stream) {
    REQUIRE(cublasCreate(&handle_) == CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasSetStream(handle_, stream.get()) == CUBLAS_STATUS_SUCCESS);
  }
  ~BlasHandle() { cublasDestroy(handle_); }
  BlasHandle(const BlasHandle&) = delete;
  BlasHandle& operator=(const BlasHandle&) = delete;
  cublasHandle_t get() const { return handle_; }

 private:
  cublasHandle_t handle_ = nullptr;
};

template <typename T>
std::vector<T> random_values(std::size_t n, NumberSequence& numbers) {
  std::vector<T> values;
  for (std::size_t i = 0; i < n; ++i)
    if constexpr (std::is_same_v<T, double>)
      values.push_back(numbers.next());
    else
      values.push_back(static_cast<T>(static_cast<float>(numbers.next())));
  return values;
}

template <typename T>
double as_double(T value) {
  if constexpr (std::is_same_v<T, double>)
    return value;
  else
    return static_cast<double>(static_cast<float>(value));
}

// A batch of products with odd shapes, paddings and strides, and all that checks it.
template <typename In, typename Out>
struct BatchedProduct {
  static constexpr int m = 5, n = 7, k = 9, n_batch = 3, lda = 11, ldb = 12, ldc = 6;
  // Columns of A and B as they lie, whichever way they are read.
  static constexpr long long stride_a = lda * 9 + 4, stride_b = ldb * 9 + 1, stride_c = ldc * n + 3;

  cublasOperation_t operation_a, operation_b;
  TestStream stream;
  NumberSequence numbers;
  std::vector<In> a = random_values<In>(stride_a * n_batch, numbers),
                  b = random_values<In>(stride_b * n_batch, numbers);
  std::vector<Out> c = random_values<Out>(stride_c * n_batch, numbers);
  DeviceArray<In> device_a{a, stream}, device_b{b, stream};
  DeviceArray<Out> device_c{c, stream};
  BlasHandle blas{stream};

  BatchedProduct(cublasOperation_t op_a, cublasOperation_t op_b) : operation_a(op_a), operation_b(op_b) {}

  void check(double alpha, double beta, double tolerance, int batches = n_batch) const {
    const std::vector<Out> found = device_c.read(stream);
    std::vector<double> expected;
    for (const Out value : c) expected.push_back(as_double(value));
    for (int i = 0; i < batches; ++i)
      for (int column = 0; column < n; ++column)
        for (int row = 0; row < m; ++row) {
          double sum = 0;
          for (int inner = 0; inner < k; ++inner) {
            const int in_a = operation_a == CUBLAS_OP_N ? inner * lda + row : row * lda + inner;
            const int in_b = operation_b == CUBLAS_OP_N ? column * ldb + inner : inner * ldb + column;
            sum += as_double(a[static_cast<std::size_t>(i * stride_a + in_a)]) *
                   as_double(b[static_cast<std::size_t>(i * stride_b + in_b)]);
          }
          double& value = expected[static_cast<std::size_t>(i * stride_c + column * ldc + row)];
          value = alpha * sum + (beta == 0 ? 0 : beta * value);
        }
    for (std::size_t i = 0; i < expected.size(); ++i) REQUIRE(std::abs(as_double(found[i]) - expected[i]) <= tolerance);
  }

  DeviceArray<const void*> pointers(const void* first, long long stride, std::size_t element_bytes) const {
    std::vector<const void*> all;
    for (int i = 0; i < n_batch; ++i)
      all.push_back(static_cast<const char*>(first) +
                    static_cast<std::size_t>(i) * static_cast<std::size_t>(stride) * element_bytes);
    return DeviceArray<const void*>(all, stream);
  }
};

constexpr cublasOperation_t kN = CUBLAS_OP_N, kT = CUBLAS_OP_T;

// Sums of 9 products of numbers below 1, in float32.
constexpr double kFloatTolerance = 1e-6;

}  // namespace

TEST_CASE("cublasSgemm, strided and batched") {
  const float alpha = 1.5f, beta = 0.5f;
  for (const auto& [op_a, op_b] : {std::pair{kN, kN}, {kN, kT}, {kT, kN}, {kT, kT}}) {
    BatchedProduct<float, float> p(op_a, op_b);
    REQUIRE(cublasSgemmStridedBatched(p.blas.get(), op_a, op_b, p.m, p.n, p.k, &alpha, p.device_a.data(), p.lda,
                                      p.stride_a, p.device_b.data(), p.ldb, p.stride_b, &beta, p.device_c.data(), p.ldc,
                                      p.stride_c, p.n_batch) == CUBLAS_STATUS_SUCCESS);
    p.check(1.5, 0.5, kFloatTolerance);
  }
  BatchedProduct<float, float> one(kN, kN);
  REQUIRE(cublasSgemm(one.blas.get(), kN, kN, one.m, one.n, one.k, &alpha, one.device_a.data(), one.lda,
                      one.device_b.data(), one.ldb, &beta, one.device_c.data(), one.ldc) == CUBLAS_STATUS_SUCCESS);
  one.check(1.5, 0.5, kFloatTolerance, 1);
}

TEST_CASE("cublasDgemm, strided and batched") {
  const double alpha = -1, beta = 2;
  BatchedProduct<double, double> p(kT, kN);
  REQUIRE(cublasDgemmStridedBatched(p.blas.get(), kT, kN, p.m, p.n, p.k, &alpha, p.device_a.data(), p.lda, p.stride_a,
                                    p.device_b.data(), p.ldb, p.stride_b, &beta, p.device_c.data(), p.ldc, p.stride_c,
                                    p.n_batch) == CUBLAS_STATUS_SUCCESS);
  p.check(-1, 2, 1e-14);
  BatchedProduct<double, double> one(kN, kT);
  REQUIRE(cublasDgemm(one.blas.get(), kN, kT, one.m, one.n, one.k, &alpha, one.device_a.data(), one.lda,
                      one.device_b.data(), one.ldb, &beta, one.device_c.data(), one.ldc) == CUBLAS_STATUS_SUCCESS);
  one.check(-1, 2, 1e-14, 1);
}

TEST_CASE("cublasGemmEx of half and bfloat16, with sums in float") {
  const float alpha = 1, beta = 0;
  BatchedProduct<__half, float> half(kT, kN);
  REQUIRE(cublasGemmStridedBatchedEx(half.blas.get(), kT, kN, half.m, half.n, half.k, &alpha, half.device_a.data(),
                                     CUDA_R_16F, half.lda, half.stride_a, half.device_b.data(), CUDA_R_16F, half.ldb,
                                     half.stride_b, &beta, half.device_c.data(), CUDA_R_32F, half.ldc, half.stride_c,
                                     half.n_batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  half.check(1, 0, kFloatTolerance);
  BatchedProduct<__nv_bfloat16, __nv_bfloat16> narrow(kN, kN);
  REQUIRE(cublasGemmEx(narrow.blas.get(), kN, kN, narrow.m, narrow.n, narrow.k, &alpha, narrow.device_a.data(),
                       CUDA_R_16BF, narrow.lda, narrow.device_b.data(), CUDA_R_16BF, narrow.ldb, &beta,
                       narrow.device_c.data(), CUDA_R_16BF, narrow.ldc, CUBLAS_COMPUTE_32F,
                       CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  narrow.check(1, 0, 9 * 0x1p-9, 1);  // bfloat16 has 8 bits
}

TEST_CASE("cublasGemmBatchedEx follows pointers on the device") {
  const float alpha = 2, beta = 1;
  BatchedProduct<float, float> p(kN, kT);
  const DeviceArray<const void*> a = p.pointers(p.device_a.data(), p.stride_a, sizeof(float)),
                                 b = p.pointers(p.device_b.data(), p.stride_b, sizeof(float)),
                                 c = p.pointers(p.device_c.data(), p.stride_c, sizeof(float));
  REQUIRE(cublasGemmBatchedEx(p.blas.get(), kN, kT, p.m, p.n, p.k, &alpha, a.data(), CUDA_R_32F, p.lda, b.data(),
                              CUDA_R_32F, p.ldb, &beta, const_cast<void**>(c.data()), CUDA_R_32F, p.ldc, p.n_batch,
                              CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  p.check(2, 1, 2 * kFloatTolerance);
}

TEST_CASE("TF32 rounds the inputs, where it is asked for") {
  const float alpha = 1, beta = 0;
  for (const bool asked : {false, true}) {
    BatchedProduct<float, float> p(kN, kN);
    REQUIRE(cublasSetMathMode(p.blas.get(), asked ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH) ==
            CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasSgemm(p.blas.get(), kN, kN, p.m, p.n, p.k, &alpha, p.device_a.data(), p.lda, p.device_b.data(), p.ldb,
                        &beta, p.device_c.data(), p.ldc) == CUBLAS_STATUS_SUCCESS);
    p.check(1, 0, asked ? 1e-2 : kFloatTolerance, 1);
    double worst = 0;
    const std::vector<float> found = p.device_c.read(p.stream);
    for (int row = 0; row < p.m; ++row) {
      double sum = 0;
      for (int i = 0; i < p.k; ++i)
        sum += static_cast<double>(p.a[static_cast<std::size_t>(i * p.lda + row)]) *
               static_cast<double>(p.b[static_cast<std::size_t>(i)]);
      worst = std::max(worst, std::abs(static_cast<double>(found[static_cast<std::size_t>(row)]) - sum));
    }
    CHECK((worst > 1e-5) == asked);
  }
}

TEST_CASE("with beta 0 what the result held does not matter, not even NaN") {
  const float alpha = 1, beta = 0;
  BatchedProduct<float, float> p(kN, kN);
  require_success(cudaMemsetAsync(p.device_c.data(), 0xff, (p.ldc * (p.n - 1) + p.m) * sizeof(float), p.stream.get()));
  REQUIRE(cublasSgemm(p.blas.get(), kN, kN, p.m, p.n, p.k, &alpha, p.device_a.data(), p.lda, p.device_b.data(), p.ldb,
                      &beta, p.device_c.data(), p.ldc) == CUBLAS_STATUS_SUCCESS);
  const std::vector<float> found = p.device_c.read(p.stream);
  for (int column = 0; column < p.n; ++column)
    for (int row = 0; row < p.m; ++row) CHECK(!std::isnan(found[static_cast<std::size_t>(column * p.ldc + row)]));
}

TEST_CASE("cublasDsyrk writes one triangle, cublasDgemv a vector") {
  const TestStream stream;
  const BlasHandle blas(stream);
  NumberSequence numbers;
  constexpr int n = 6, k = 10;
  const std::vector<double> a = random_values<double>(n * k, numbers), x = random_values<double>(2 * k, numbers);
  const DeviceArray<double> device_a(a, stream), device_x(x, stream), y(n);
  const DeviceArray<double> c(std::vector<double>(n * n, 7.0), stream);
  const double one = 1, zero = 0;
  REQUIRE(cublasDsyrk(blas.get(), CUBLAS_FILL_MODE_LOWER, kN, n, k, &one, device_a.data(), n, &zero, c.data(), n) ==
          CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasDgemv(blas.get(), kN, n, k, &one, device_a.data(), n, device_x.data(), 2, &zero, y.data(), 1) ==
          CUBLAS_STATUS_SUCCESS);
  const std::vector<double> triangle = c.read(stream), product = y.read(stream);
  for (std::size_t i = 0; i < n; ++i) {
    double dot = 0;
    for (std::size_t j = 0; j < k; ++j) dot += a[j * n + i] * x[2 * j];
    CHECK(product[i] == doctest::Approx(dot));
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::size_t l = 0; l < k; ++l) sum += a[l * n + i] * a[l * n + j];
      CHECK(triangle[j * n + i] == doctest::Approx(i >= j ? sum : 7.0));
    }
  }
}

TEST_CASE("cusolverDnDpotrfBatched factors, and says where a matrix is not positive") {
  const TestStream stream;
  cusolverDnHandle_t solver = nullptr;
  REQUIRE(cusolverDnCreate(&solver) == CUSOLVER_STATUS_SUCCESS);
  REQUIRE(cusolverDnSetStream(solver, stream.get()) == CUSOLVER_STATUS_SUCCESS);
  constexpr int n = 5;
  std::vector<double> matrices;
  for (int which = 0; which < 2; ++which)
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) matrices.push_back(i == j ? (which == 1 && i == 3 ? -4 : 4 + i) : 1.0 / (i + j));
  const DeviceArray<double> device(matrices, stream);
  const DeviceArray<double*> pointers({device.data(), device.data() + n * n}, stream);
  const DeviceArray<int> info(2);
  REQUIRE(cusolverDnDpotrfBatched(solver, CUBLAS_FILL_MODE_LOWER, n, pointers.data(), n, info.data(), 2) ==
          CUSOLVER_STATUS_SUCCESS);
  CHECK(info.read(stream) == std::vector<int>{0, 4});
  const std::vector<double> factors = device.read(stream);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (std::size_t l = 0; l <= j; ++l) sum += factors[l * n + i] * factors[l * n + j];
      CHECK(sum == doctest::Approx(matrices[j * n + i]));
    }
  cusolverDnDestroy(solver);
}

TEST_CASE("arguments that cuBLAS refuses are refused") {
  const float alpha = 1, beta = 0;
  BatchedProduct<float, float> p(kN, kN);
  CHECK(cublasSgemm(p.blas.get(), kN, kN, p.m, p.n, p.k, &alpha, p.device_a.data(), p.m - 1, p.device_b.data(), p.ldb,
                    &beta, p.device_c.data(), p.ldc) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(cublasGemmEx(p.blas.get(), kN, kN, p.m, p.n, p.k, &alpha, p.device_a.data(), CUDA_R_32F, p.lda,
                     p.device_b.data(), CUDA_R_16F, p.ldb, &beta, p.device_c.data(), CUDA_R_32F, p.ldc,
                     CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(cublasSgemm(nullptr, kN, kN, p.m, p.n, p.k, &alpha, p.device_a.data(), p.lda, p.device_b.data(), p.ldb, &beta,
                    p.device_c.data(), p.ldc) == CUBLAS_STATUS_NOT_INITIALIZED);
}

}  // namespace kvreplay::testing
