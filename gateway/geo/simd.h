/* MG_SIMD: functions so marked are compiled twice, for AVX2 and for the baseline, and chosen at
 * load.
 *
 * Only with gcc on x86-64: clang 14 lacks the attribute, and the resolvers run before a sanitizer
 * is up. FMA is left out on purpose, so that both versions give the same bits. Loops are written so
 * that gcc -O3 vectorises them. */
#ifndef MOONGATE_GEO_SIMD_H
#define MOONGATE_GEO_SIMD_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MG_SIMD __attribute__((target_clones("avx2", "default")))
#else
#define MG_SIMD
#endif

#endif
