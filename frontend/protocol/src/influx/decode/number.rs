//! Numbers, booleans and timestamps of line protocol.
//!
//! `quick` takes what nearly every line holds; `strict` repeats InfluxDB's
//! scanner step by step, because which of its errors comes first is visible.

use std::borrow::Cow;

use super::Times;

/// First and last nanosecond InfluxDB stores: the ends of i64 are its sentinels.
pub(super) const NANOS_MIN: i64 = i64::MIN + 2;
/// See [`NANOS_MIN`].
pub(super) const NANOS_MAX: i64 = i64::MAX - 1;

/// A value that is not text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    F64(f64),
    I64(i64),
    U64(u64),
    Bool(bool),
}

/// Digits below which a u64 cannot overflow.
const SAFE_DIGITS: usize = 18;
/// Integers up to here are exact floats.
const EXACT_MAX: u64 = 1 << 53;

/// Reads a value at the start of `text`; returns it and its length. `None` is a surprise, not an error.
#[inline]
pub(super) fn quick(text: &[u8]) -> Option<(Scalar, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let mut at = start;
    let mut number = 0u64;
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    let digits = at - start;
    if digits == 0 && !negative {
        return quick_bool(text);
    }
    if digits == 0 || digits > SAFE_DIGITS {
        return None;
    }
    match text.get(at) {
        Some(b'i') => Some((Scalar::I64(if negative { -(number as i64) } else { number as i64 }), at + 1)),
        Some(b'u') if !negative => Some((Scalar::U64(number), at + 1)),
        None | Some(b',' | b' ') if number <= EXACT_MAX => {
            let float = number as f64;
            Some((Scalar::F64(if negative { -float } else { float }), at))
        }
        Some(b'.' | b'e' | b'E') => {
            let (float, len) = lexical_core::parse_partial::<f64>(text).ok()?;
            float.is_finite().then_some((Scalar::F64(float), len))
        }
        _ => None,
    }
}

fn quick_bool(text: &[u8]) -> Option<(Scalar, usize)> {
    let len = text.iter().take(6).position(|byte| matches!(byte, b',' | b' ')).unwrap_or(text.len());
    Some((Scalar::Bool(boolean(text.get(..len)?)?), len))
}

/// The boolean that InfluxDB reads in the whole text.
pub(super) fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

const INVALID: Cow<'static, str> = Cow::Borrowed("invalid number");

/// Reads the whole text as a number. Errors: InfluxDB's texts.
pub(super) fn strict(text: &[u8]) -> Result<Scalar, Cow<'static, str>> {
    let start = usize::from(text.first() == Some(&b'-'));
    let (mut integer, mut unsigned, mut decimal, mut scientific) = (false, false, false, false);
    for at in start..text.len() {
        match text[at] {
            b'i' if at > 0 && !integer && !unsigned => integer = true,
            b'u' if at > 0 && !integer && !unsigned => unsigned = true,
            b'.' if decimal => return Err(INVALID),
            b'.' => decimal = true,
            b'e' | b'E' if at > 0 => scientific = true,
            b'+' | b'-' if at > 0 && matches!(text[at - 1], b'e' | b'E') => {}
            b'0'..=b'9' => {}
            _ => return Err(INVALID),
        }
    }
    if (integer || unsigned) && (decimal || scientific) {
        return Err(INVALID);
    }
    if text.len() - start <= usize::from(integer) + usize::from(decimal) + usize::from(unsigned) {
        return Err(INVALID);
    }
    if integer || unsigned {
        let Some((digits, b'i' | b'u')) = text.split_last().map(|(last, digits)| (digits, last)) else {
            return Err(INVALID);
        };
        return if integer { signed(digits) } else { self::unsigned(digits) };
    }
    match lexical_core::parse::<f64>(text) {
        Ok(float) if float.is_finite() => Ok(Scalar::F64(float)),
        _ => Err("invalid float".into()),
    }
}

fn signed(digits: &[u8]) -> Result<Scalar, Cow<'static, str>> {
    parse_i64(digits)
        .map(Scalar::I64)
        .map_err(|reason| format!("unable to parse integer {}: {reason}", String::from_utf8_lossy(digits)).into())
}

fn unsigned(digits: &[u8]) -> Result<Scalar, Cow<'static, str>> {
    let text = String::from_utf8_lossy(digits);
    text.parse().map(Scalar::U64).map_err(|_| {
        let why = if text.starts_with('-') { "invalid syntax" } else { "value out of range" };
        format!("unable to parse unsigned {text}: strconv.ParseUint: parsing \"{text}\": {why}").into()
    })
}

/// An i64 with the errors of InfluxDB's parser.
fn parse_i64(digits: &[u8]) -> Result<i64, String> {
    let text = String::from_utf8_lossy(digits);
    text.parse().map_err(|_| {
        let is_number =
            text.strip_prefix('-').unwrap_or(&text).bytes().next().is_some_and(|byte| byte.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseInt: parsing \"{text}\": {why}")
    })
}

/// A timestamp over the whole text, in nanoseconds. `None` is a surprise.
#[inline]
pub(super) fn quick_time(text: &[u8], times: Times) -> Option<i64> {
    if text.is_empty() {
        return Some(times.default_nanos());
    }
    let (negative, mut digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut number = 0u64;
    while let Some((chunk, rest)) = digits.split_first_chunk::<8>() {
        number = number * 100_000_000 + eight_digits(u64::from_le_bytes(*chunk))?;
        digits = rest;
    }
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    let number = i64::try_from(number).ok()?;
    scale(if negative { -number } else { number }, times)
}

/// Eight ASCII digits at once (SWAR, after Lemire's "Quickly parsing eight digits"), first digit in the low byte.
fn eight_digits(chunk: u64) -> Option<u64> {
    const SIXES: u64 = 0x0606_0606_0606_0606;
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    const MASK: u64 = 0x0000_00ff_0000_00ff;
    if chunk & HIGH != ZEROS || chunk.wrapping_add(SIXES) & HIGH != ZEROS {
        return None;
    }
    let pairs = chunk - ZEROS;
    let pairs = pairs.wrapping_mul(10).wrapping_add(pairs >> 8);
    let high = (pairs & MASK).wrapping_mul(0x000f_4240_0000_0064);
    let low = ((pairs >> 16) & MASK).wrapping_mul(0x0000_2710_0000_0001);
    Some(high.wrapping_add(low) >> 32)
}

fn scale(number: i64, times: Times) -> Option<i64> {
    number.checked_mul(times.scale_nanos).filter(|nanos| (NANOS_MIN..=NANOS_MAX).contains(nanos))
}

/// A timestamp over the whole text, which holds only digits behind a sign. Errors: InfluxDB's texts.
pub(super) fn strict_time(text: &[u8], times: Times) -> Result<i64, Cow<'static, str>> {
    let number = parse_i64(text)?;
    scale(number, times).ok_or_else(|| format!("time outside range {NANOS_MIN} - {NANOS_MAX}").into())
}
