/* Work that leaves no room for a wrong instruction: integer, 128-bit, floating point and atomic results. */
#include "guest.h"
#include <math.h>
#include <stdatomic.h>

static uint64_t state = 88172645463325252ULL;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

int main(void)
{
    uint64_t mix = 0;
    guest_start();
    for (int i = 0; i < 20000; i++) {
        uint64_t a = next(), b = next() | 1;
        unsigned __int128 wide = (unsigned __int128)a * b;
        mix = mix * 31 + (uint64_t)(wide >> 64) + a / b + a % b + (uint64_t)((int64_t)a >> (b & 63));
        mix ^= (uint64_t)__builtin_popcountll(a) << 7 | (uint64_t)__builtin_clzll(b);
        mix += __builtin_bswap64(a) ^ (uint64_t)((int32_t)a / ((int32_t)(b & 0xffff) | 1));
    }
    printf("integers %016llx\n", (unsigned long long)mix);

    double sum = 0;
    float low = 0;
    for (int i = 1; i < 5000; i++) {
        double x = (double)(int64_t)next() / 9.3e18;
        sum += sqrt(fabs(x)) * x + floor(x * 1000) / 7.0;
        low += (float)x / (float)i;
    }
    printf("doubles %.17g, floats %.9g\n", sum, (double)low);
    volatile double zero = 0, one = 1;
    CHECK(isinf(one / zero) && isnan(zero / zero) && signbit(-zero));
    CHECK((int64_t)(one * 4e9) == 4000000000LL && (float)16777217.0 == 16777216.0f);

    _Atomic uint64_t counter = 5;
    WANT(atomic_fetch_add(&counter, 3), 5);
    WANT(atomic_exchange(&counter, 100), 8);
    uint64_t expected = 100;
    CHECK(atomic_compare_exchange_strong(&counter, &expected, 7) && counter == 7);
    expected = 1;
    CHECK(!atomic_compare_exchange_strong(&counter, &expected, 9) && expected == 7);
    WANT(atomic_fetch_or(&counter, 8), 7);
    WANT(atomic_fetch_and(&counter, 12), 15);
    WANT(atomic_fetch_sub(&counter, 12), 12);

    /* copies across pages, at every alignment */
    static unsigned char from[3 * 4096], to[3 * 4096];
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (unsigned char)(i * 7 + (i >> 8));
    unsigned bad = 0;
    for (size_t shift = 0; shift < 64; shift++) {
        memset(to, 0, sizeof to);
        memcpy(to + shift, from + 63 - shift, 8192 + shift);
        bad += memcmp(to + shift, from + 63 - shift, 8192 + shift) != 0 || to[8192 + 2 * shift] != 0;
        memmove(to + 100, to + shift, 4096);
        bad += memcmp(to + 100, from + 63 - shift, 4096) != 0;
    }
    WANT(bad, 0);
    return guest_end();
}
