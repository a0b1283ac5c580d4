//! Packets that end an answer: OK and EOF, which mysql_common only reads.

use bytes::{BufMut, BytesMut};
use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::io::BufMutExt;

const OK: u8 = 0x00;
const EOF: u8 = 0xfe;

/// The payload of an OK packet.
pub(super) fn ok(out: &mut BytesMut, rows: u64, status: StatusFlags) {
    out.put_u8(OK);
    done(out, rows, status);
}

/// What ends the rows of an answer: an OK packet under another header, or for older clients EOF.
pub(super) fn end_of_rows(out: &mut BytesMut, status: StatusFlags, capabilities: CapabilityFlags) {
    if capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
        out.put_u8(EOF);
        done(out, 0, status);
    } else {
        eof(out, status);
    }
}

/// The payload of an EOF packet.
pub(super) fn eof(out: &mut BytesMut, status: StatusFlags) {
    out.put_u8(EOF);
    out.put_u16_le(0);
    out.put_u16_le(status.bits());
}

/// Rows affected, last insert id, status, warnings.
fn done(out: &mut BytesMut, rows: u64, status: StatusFlags) {
    out.put_lenenc_int(rows);
    out.put_lenenc_int(0);
    out.put_u16_le(status.bits());
    out.put_u16_le(0);
}
