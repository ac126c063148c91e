//! Cursors, windows, receipts and skips: who is still owed what.
