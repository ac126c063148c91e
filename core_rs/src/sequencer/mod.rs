//! Numbers messages: may this sender write here, was this id seen, which number is next.
