//! How a frozen memtable becomes files.
