//! Floats that are decimal numbers, as integers: 12.5 is 125 / 10^1.
//!
//! Most measured values have few decimals; as integers they pack into few bits.
//! Only values whose exact bits come back by *division* are taken; NaN, infinity
//! and -0.0 never are.

/// Largest exponent tried.
pub const EXPONENT_MAX: u8 = 6;

const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// The integer k with `bits(k / 10^e) == bits(value)`, if there is one below 2^53. `e <= EXPONENT_MAX`.
#[inline]
pub fn lower(value: f64, e: u8) -> Option<i64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    let scaled = value * POWERS[e as usize];
    if scaled.is_nan() || scaled.abs() >= LIMIT {
        return None;
    }
    let k = scaled.round_ties_even() as i64;
    (raise(k, e).to_bits() == value.to_bits()).then_some(k)
}

/// The float that was lowered to `k`. Precondition: `e <= EXPONENT_MAX`.
#[inline]
pub fn raise(k: i64, e: u8) -> f64 {
    k as f64 / POWERS[e as usize]
}

/// The smallest exponent that lowers all the values but at most `exceptions_max` of them.
pub fn exponent_for(values: &[f64], exceptions_max: usize) -> Option<u8> {
    // A sample first: full-precision columns are refused after a few values.
    let step = (values.len() / 32).max(1);
    let fits = |e: u8| {
        let misses = values.iter().step_by(step).filter(|&&value| lower(value, e).is_none()).count();
        misses <= exceptions_max.min(2)
    };
    let first = (0..=EXPONENT_MAX).find(|&e| fits(e))?;
    (first..=EXPONENT_MAX).find(|&e| {
        values.iter().filter(|&&value| lower(value, e).is_none()).take(exceptions_max + 1).count() <= exceptions_max
    })
}
