//! One region: its single writer, its readers, its recovery.
