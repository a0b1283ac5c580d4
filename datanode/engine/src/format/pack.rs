//! Integers in few bits: frames of values less a base, each in as many bits as the largest needs.
//!
//! Two forms. *Delta* frames (64 values) hold differences to the value before
//! and fit ids and timestamps. *Reference* frames (1,024 values) hold each value
//! less the frame's smallest, or differences when those are narrower.
//! All arithmetic wraps, so every bit pattern survives.

use varve_model::Result;

use super::cursor::{Cursor, put_zigzag};

#[cfg(test)]
mod tests;

/// Values of a delta frame.
const DELTA_FRAME: usize = 64;
/// Values of a reference frame.
const REFERENCE_FRAME: usize = 1024;
/// Set in a reference frame's width byte when it holds differences.
const IS_DELTA: u8 = 0x80;

/// Bits needed for a value.
fn width_of(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// Appends `values` of `width` bits each, least significant bit first.
fn pack(bytes: &mut Vec<u8>, values: &[u64], width: u32) {
    if width == 0 {
        return;
    }
    let (mut word, mut used) = (0u64, 0u32);
    bytes.reserve(values.len() * width as usize / 8 + 8);
    for &value in values {
        word |= value << used;
        used += width;
        if used >= 64 {
            bytes.extend_from_slice(&word.to_le_bytes());
            used -= 64;
            word = if used == 0 { 0 } else { value >> (width - used) };
        }
    }
    bytes.extend_from_slice(&word.to_le_bytes()[..used.div_ceil(8) as usize]);
}

/// Calls `each` with `count` values of `width` bits.
fn unpack(cursor: &mut Cursor<'_>, count: usize, width: u32, mut each: impl FnMut(u64)) -> Result<()> {
    if width > 64 {
        return Err(cursor.bad("a frame is wider than 64 bits"));
    }
    if width == 0 {
        (0..count).for_each(|_| each(0));
        return Ok(());
    }
    let bytes = cursor.take((count * width as usize).div_ceil(8))?;
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    let mut bit = 0usize;
    for _ in 0..count {
        let (at, shift) = (bit / 8, bit % 8);
        let mut window = [0u8; 16];
        let tail = &bytes[at..bytes.len().min(at + 9)];
        window[..tail.len()].copy_from_slice(tail);
        each((u128::from_le_bytes(window) >> shift) as u64 & mask);
        bit += width as usize;
    }
    Ok(())
}

/// Appends values as differences, in frames of 64.
pub fn put_deltas(bytes: &mut Vec<u8>, values: impl Iterator<Item = i64>) {
    let mut previous = 0i64;
    let mut frame = [0u64; DELTA_FRAME];
    let mut len = 0;
    for value in values {
        frame[len] = value.wrapping_sub(previous) as u64;
        previous = value;
        len += 1;
        if len == DELTA_FRAME {
            put_frame(bytes, &mut frame, 0);
            len = 0;
        }
    }
    if len > 0 {
        put_frame(bytes, &mut frame[..len], 0);
    }
}

/// Appends one frame: width and flag, base, packed values less the base.
fn put_frame(bytes: &mut Vec<u8>, frame: &mut [u64], flag: u8) {
    let base = frame.iter().map(|&value| value as i64).min().unwrap_or(0);
    let mut all = 0;
    for value in &mut *frame {
        *value = value.wrapping_sub(base as u64);
        all |= *value;
    }
    let width = width_of(all);
    bytes.push(width as u8 | flag);
    put_zigzag(bytes, base);
    pack(bytes, frame, width);
}

/// Reads `count` values that [`put_deltas`] wrote.
pub fn take_deltas(cursor: &mut Cursor<'_>, count: usize, mut each: impl FnMut(i64)) -> Result<()> {
    let (mut left, mut previous) = (count, 0i64);
    while left > 0 {
        let len = left.min(DELTA_FRAME);
        let width = u32::from(cursor.u8()?);
        let base = cursor.zigzag()?;
        unpack(cursor, len, width, |value| {
            previous = previous.wrapping_add(base.wrapping_add(value as i64));
            each(previous);
        })?;
        left -= len;
    }
    Ok(())
}

/// Appends values in frames of 1,024, each by reference or by difference, whichever is narrower.
pub fn put_references(bytes: &mut Vec<u8>, values: impl Iterator<Item = i64>) {
    let mut frame = [0u64; REFERENCE_FRAME];
    let mut len = 0;
    for value in values {
        frame[len] = value as u64;
        len += 1;
        if len == REFERENCE_FRAME {
            put_narrower(bytes, &mut frame);
            len = 0;
        }
    }
    if len > 0 {
        put_narrower(bytes, &mut frame[..len]);
    }
}

/// The first value of a difference frame counts from 0, so that frames stand alone.
fn put_narrower(bytes: &mut Vec<u8>, frame: &mut [u64]) {
    let range = |low: i64, high: i64| width_of(high.wrapping_sub(low) as u64);
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    let (mut delta_low, mut delta_high) = (i64::MAX, i64::MIN);
    let mut previous = 0u64;
    for &value in &*frame {
        let delta = value.wrapping_sub(previous) as i64;
        previous = value;
        (low, high) = (low.min(value as i64), high.max(value as i64));
        (delta_low, delta_high) = (delta_low.min(delta), delta_high.max(delta));
    }
    if range(delta_low, delta_high) < range(low, high) {
        let mut previous = 0;
        for value in &mut *frame {
            let delta = value.wrapping_sub(previous);
            previous = *value;
            *value = delta;
        }
        put_frame(bytes, frame, IS_DELTA);
    } else {
        put_frame(bytes, frame, 0);
    }
}

/// Reads `count` values that [`put_references`] wrote.
pub fn take_references(cursor: &mut Cursor<'_>, count: usize, mut each: impl FnMut(i64)) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let len = left.min(REFERENCE_FRAME);
        let head = cursor.u8()?;
        let base = cursor.zigzag()?;
        let width = u32::from(head & !IS_DELTA);
        if head & IS_DELTA == 0 {
            unpack(cursor, len, width, |value| each(base.wrapping_add(value as i64)))?;
        } else {
            let mut previous = 0i64;
            unpack(cursor, len, width, |value| {
                previous = previous.wrapping_add(base.wrapping_add(value as i64));
                each(previous);
            })?;
        }
        left -= len;
    }
    Ok(())
}

/// Fewest bytes that `count` packed values can take, to bound allocations before reading.
pub fn bytes_min(count: usize) -> usize {
    2 * count.div_ceil(REFERENCE_FRAME)
}
