#pragma once
// BLAS and LAPACK as OpenBLAS carries them: Debian's, or the one of the Python package scipy-openblas32, whose names
// have a prefix, so that it lives beside NumPy's and SciPy's own.

#include <cblas.h>

#ifdef BLAS_SYMBOL_PREFIX  // it is scipy_
#define cblas_ddot scipy_cblas_ddot
#define cblas_dgemm scipy_cblas_dgemm
#define cblas_dgemv scipy_cblas_dgemv
#define cblas_dsymv scipy_cblas_dsymv
#define cblas_dsyr scipy_cblas_dsyr
#define cblas_dsyrk scipy_cblas_dsyrk
#define cblas_dtrmm scipy_cblas_dtrmm
#define cblas_dtrsm scipy_cblas_dtrsm
#define cblas_sgemm scipy_cblas_sgemm
#define cblas_strmm scipy_cblas_strmm
#define dgeqrf_ scipy_dgeqrf_
#define dpotrf_ scipy_dpotrf_
#define dpotri_ scipy_dpotri_
#define dsyev_ scipy_dsyev_
#define sgeqrf_ scipy_sgeqrf_
#define openblas_get_corename scipy_openblas_get_corename
#define openblas_set_num_threads scipy_openblas_set_num_threads
#endif

// Debian's package has no header for LAPACK.
extern "C" {
void dpotrf_(const char* triangle, const blasint* n, double* a, const blasint* lda, blasint* info);
void dpotri_(const char* triangle, const blasint* n, double* a, const blasint* lda, blasint* info);
void dgeqrf_(const blasint* m, const blasint* n, double* a, const blasint* lda, double* tau, double* work,
             const blasint* lwork, blasint* info);
void sgeqrf_(const blasint* m, const blasint* n, float* a, const blasint* lda, float* tau, float* work,
             const blasint* lwork, blasint* info);
void dsyev_(const char* vectors, const char* triangle, const blasint* n, double* a, const blasint* lda, double* values,
            double* work, const blasint* lwork, blasint* info);
}
