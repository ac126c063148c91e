use crate::{Key, Kind, MAX_USER, StoreError};

#[test]
fn keys_sort_by_kind_then_id() {
    let keys = [
        Key::conversation(&[0xff; 16]),
        Key::device(b"a", &[0xff; 8]).unwrap(),
        Key::member(b"a", &[0; 16]).unwrap(),
        Key::user(b"a").unwrap(),
    ];
    assert!(keys.is_sorted());
    assert_eq!(keys.each_ref().map(Key::kind), Kind::ALL);
}

#[test]
fn parsed_key_equals_the_key_and_other_bytes_are_none() {
    let long = [b'x'; MAX_USER];
    for key in [
        Key::conversation(&[7; 16]),
        Key::user(b"a").unwrap(),
        Key::user(&long).unwrap(),
        Key::device(&long, &[1; 8]).unwrap(),
        Key::member(&long, &[1; 16]).unwrap(),
    ] {
        let bytes = key.as_bytes();
        assert_eq!(Key::parse(bytes).as_ref(), Some(&key));
        assert_eq!(Key::parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Key::parse(&[bytes, &[0]].concat()), None);
    }
    assert_eq!(Key::parse(b""), None);
    assert_eq!(Key::parse(b"u"), None);
    assert_eq!(Key::parse(b"u\0"), None);
    assert_eq!(Key::parse(b"z\x01a"), None);
    let too_long = [&[b'u', 65][..], &[b'x'; 65]].concat();
    assert_eq!(Key::parse(&too_long), None);
}

#[test]
fn user_name_has_between_one_byte_and_the_bound() {
    assert!(Key::user(&[b'x'; MAX_USER]).is_ok());
    let error = Key::user(&[b'x'; MAX_USER + 1]).unwrap_err();
    assert_eq!(error, StoreError::TooLarge { what: "a user's name", len: MAX_USER + 1, max: MAX_USER });
    assert!(matches!(Key::user(b""), Err(StoreError::Misused(_))));
}
