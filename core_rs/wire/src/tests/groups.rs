//! Frames about groups: every limit at its edge and beyond it, and what a client may not say of a change.

use std::borrow::Cow;

use super::limits::{code, many};
use super::schema::CLIENT;
use crate::types::*;
use crate::{codes, decode_client, json};

const GROUP: ConversationId = [7; 16];

type Names = Vec<Cow<'static, str>>;
type Part = Option<Cow<'static, [u8]>>;
type ProfileOf = fn(Part) -> Profile<'static>;

fn manage(change: Change<'static>) -> Manage<'static> {
    let conversation = (!matches!(change, Change::Created { .. })).then_some(GROUP);
    Manage { id: Cow::Borrowed(b"\x01"), conversation, change }
}

/// The error code of a wanted change in both notations; an error must have the id.
fn wanted(change: Change<'static>) -> Option<&'static str> {
    let frame = ClientFrame::Manage(manage(change));
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    if let Err(error) = decode_client(&bytes) {
        assert_eq!(error.id, b"\x01", "{error}");
    }
    code(&frame)
}

/// The error code and id of a frame in JSON, and in the protobuf that the schema makes of it.
fn said(text: &str) -> Option<(&'static str, Vec<u8>)> {
    let bytes = CLIENT.encode(&CLIENT.read_json(text.as_bytes()).unwrap_or_else(|| panic!("{text}")));
    let both = [json::decode_client(text.as_bytes()).err(), decode_client(&bytes).err()]
        .map(|error| error.map(|error| (error.code, error.id.clone())));
    assert_eq!(both[0], both[1], "{text}");
    both.into_iter().next().flatten()
}

/// A change in JSON, wanted of a group.
fn said_of_a_group(change: &str) -> Option<&'static str> {
    let group = "BwcHBwcHBwcHBwcHBwcHBw==";
    let refused = said(&format!(r#"{{"manage":{{"id":"AQ==","conversation":"{group}","change":{change}}}}}"#))?;
    assert_eq!(refused.1, b"\x01", "{change}");
    Some(refused.0)
}

fn created(members: Names, profile: Profile<'static>) -> Change<'static> {
    Change::Created { members, profile, rules: Rules::default() }
}

#[test]
fn a_change_needs_an_id() {
    for (len, expected) in [(0, Some(codes::BAD_ID)), (1, None), (MAX_ID, None), (MAX_ID + 1, Some(codes::BAD_ID))] {
        let manage = Manage { id: Cow::Owned(vec![7; len]), ..manage(Change::Closed) };
        assert_eq!(code(&ClientFrame::Manage(manage)), expected, "{len} bytes");
    }
}

#[test]
fn a_change_needs_its_group_unless_it_makes_it() {
    let of = |conversation, change| code(&ClientFrame::Manage(Manage { conversation, ..manage(change) }));
    assert_eq!(of(Some(GROUP), Change::Closed), None);
    assert_eq!(of(None, Change::Closed), Some(codes::BAD_CONVERSATION));
    assert_eq!(of(None, created(Vec::new(), Profile::default())), None);
    assert_eq!(of(Some(GROUP), created(Vec::new(), Profile::default())), Some(codes::BAD_CONVERSATION));
    let short = r#"{"manage":{"id":"AQ==","conversation":"AQ==","change":{"closed":{}}}}"#;
    assert_eq!(said(short), Some((codes::BAD_CONVERSATION, vec![1])));
}

#[test]
fn a_manage_has_one_change() {
    let none = r#"{"manage":{"id":"AQ==","conversation":"BwcHBwcHBwcHBwcHBwcHBw=="}}"#;
    assert_eq!(said(none), Some((codes::BAD_FIELD, vec![1])));
    assert_eq!(said_of_a_group("{}"), Some(codes::BAD_FIELD));
    // closed and rules; closed twice.
    for change in [&b"\x6a\x00\x1a\x00"[..], b"\x6a\x00\x6a\x00"] {
        let mut bytes = b"\x42\x1b\x0a\x01\x01\x12\x10aaaaaaaaaaaaaaaa\x1a\x04".to_vec();
        bytes.extend(change);
        assert_eq!(decode_client(&bytes).unwrap_err().code, codes::BAD_FIELD);
    }
}

#[test]
fn users_of_a_change() {
    let lists: [fn(Names) -> Change<'static>; 5] =
        [Change::Added, Change::Removed, Change::Promoted, Change::Demoted, |members| {
            created(members, Profile::default())
        }];
    for list in lists {
        assert_eq!(wanted(list(Vec::new())), None, "that it concerns nobody is for the group to say");
        assert_eq!(wanted(list(many("ann".into(), MAX_LIST))), None);
        assert_eq!(wanted(list(many("ann".into(), MAX_LIST + 1))), Some(codes::BAD_FIELD));
        for name in ["", "a\n", &"a".repeat(MAX_USER + 1)] {
            assert_eq!(wanted(list(vec!["ok".into(), name.to_owned().into()])), Some(codes::BAD_USER), "{name:?}");
        }
    }
    assert_eq!(wanted(Change::Owner("ann".into())), None);
    assert_eq!(wanted(Change::Owner("".into())), Some(codes::BAD_USER));
    assert_eq!(said_of_a_group(r#"{"owner":{}}"#), Some(codes::BAD_USER));
}

#[test]
fn profiles() {
    let of = |len| Some(Cow::Owned(vec![0xff; len]));
    for (len, expected) in [(0, None), (1, None)] {
        let profile = Profile { name: of(len), description: of(len), picture: of(len) };
        assert_eq!(wanted(Change::Profile(profile)), expected);
    }
    let fields: [(usize, ProfileOf); 3] = [
        (MAX_NAME, |name| Profile { name, ..Profile::default() }),
        (MAX_DESCRIPTION, |description| Profile { description, ..Profile::default() }),
        (MAX_PICTURE, |picture| Profile { picture, ..Profile::default() }),
    ];
    for (most, profile) in fields {
        for (len, expected) in [(most - 1, None), (most, None), (most + 1, Some(codes::BAD_FIELD))] {
            assert_eq!(wanted(Change::Profile(profile(of(len)))), expected, "{len} bytes");
            assert_eq!(wanted(created(Vec::new(), profile(of(len)))), expected, "{len} bytes");
        }
    }
}

#[test]
fn an_empty_part_of_a_profile_is_not_an_absent_one() {
    let text = br#"{"manage":{"id":"AQ==","conversation":"BwcHBwcHBwcHBwcHBwcHBw==","change":{"profile":{"name":"","picture":null}}}}"#;
    let profile = Profile { name: Some(Cow::Borrowed(b"")), ..Profile::default() };
    let expected = ClientFrame::Manage(manage(Change::Profile(profile)));
    assert_eq!(json::decode_client(text).as_ref(), Ok(&expected));
    let mut bytes = Vec::new();
    expected.encode(&mut bytes);
    assert_eq!(decode_client(&bytes).as_ref(), Ok(&expected));
}

#[test]
fn rules_are_names_or_numbers_of_the_schema() {
    for (who, expected) in [
        (r#""EVERYONE""#, Ok(Who::Everyone)),
        (r#""ADMINS""#, Ok(Who::Admins)),
        ("0", Ok(Who::Everyone)),
        ("1", Ok(Who::Admins)),
        ("null", Ok(Who::Everyone)),
        ("2", Err(codes::BAD_FIELD)),
        ("-1", Err(codes::BAD_FIELD)),
        ("1e300", Err(codes::BAD_FIELD)),
        (r#""OWNER""#, Err(codes::BAD_FIELD)),
        (r#""admins""#, Err(codes::BAD_FIELD)),
        (r#""1""#, Err(codes::BAD_FIELD)),
        ("true", Err(codes::BAD_FIELD)),
        ("[]", Err(codes::BAD_FIELD)),
    ] {
        let text = format!(
            r#"{{"manage":{{"id":"AQ==","conversation":"BwcHBwcHBwcHBwcHBwcHBw==","change":{{"rules":{{"edit":{who}}}}}}}}}"#
        );
        let read = json::decode_client(text.as_bytes()).map_err(|error| error.code);
        let expected =
            expected.map(|edit| ClientFrame::Manage(manage(Change::Rules(Rules { edit, ..Rules::default() }))));
        assert_eq!(read, expected, "{text}");
    }
    for (value, expected) in [
        (&b"\x00"[..], None),
        (b"\x01", None),
        (b"\x02", Some(codes::BAD_FIELD)),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Some(codes::BAD_FIELD)),
    ] {
        let len = value.len() as u8;
        let mut bytes = vec![0x42, 0x1a + len, 0x0a, 1, 1, 0x12, 16];
        bytes.extend([7; 16]);
        bytes.extend([0x1a, len + 3, 0x1a, len + 1, 0x08]);
        bytes.extend(value);
        assert_eq!(decode_client(&bytes).err().map(|error| error.code), expected, "{value:x?}");
    }
}

#[test]
fn invites() {
    let hash = |len: usize| base64(&vec![1; len]);
    for (len, expected) in
        [(0, Some(codes::BAD_FIELD)), (31, Some(codes::BAD_FIELD)), (32, None), (33, Some(codes::BAD_FIELD))]
    {
        for kind in ["invited", "revoked"] {
            let change = format!(r#"{{"{kind}":{{"hash":"{}"}}}}"#, hash(len));
            assert_eq!(said_of_a_group(&change), expected, "{change}");
        }
    }
    for (len, expected) in [
        (0, Some(codes::BAD_FIELD)),
        (SECRET.start() - 1, Some(codes::BAD_FIELD)),
        (*SECRET.start(), None),
        (*SECRET.end(), None),
        (SECRET.end() + 1, Some(codes::BAD_FIELD)),
    ] {
        let change = format!(r#"{{"joined":{{"secret":"{}"}}}}"#, hash(len));
        assert_eq!(said_of_a_group(&change), expected, "{change}");
    }
}

/// A secret that reached the log would be told to every member for ever.
#[test]
fn each_kind_of_invite_has_its_own_parts_and_no_other() {
    let hash = base64(&[1; 32]);
    let secret = base64(&[2; 16]);
    for change in [
        format!(r#"{{"invited":{{"hash":"{hash}","secret":"{secret}"}}}}"#),
        format!(r#"{{"revoked":{{"hash":"{hash}","secret":"{secret}"}}}}"#),
        format!(r#"{{"revoked":{{"hash":"{hash}","expires":1}}}}"#),
        format!(r#"{{"joined":{{"secret":"{secret}","expires":1}}}}"#),
        format!(r#"{{"joined":{{"secret":"{secret}","hash":"{hash}"}}}}"#),
        format!(r#"{{"joined":{{"hash":"{hash}"}}}}"#),
        r#"{"left":{"successor":"ann"}}"#.to_owned(),
    ] {
        assert_eq!(said_of_a_group(&change), Some(codes::BAD_FIELD), "{change}");
    }
    assert_eq!(said_of_a_group(&format!(r#"{{"invited":{{"hash":"{hash}","expires":1}}}}"#)), None);
    assert_eq!(said_of_a_group(r#"{"left":{}}"#), None);
}

#[test]
fn questions_about_groups_and_blocks() {
    assert_eq!(said(r#"{"groupGet":{}}"#), None);
    assert_eq!(said(r#"{"groupGet":{"conversation":"AQ=="}}"#).unwrap().0, codes::BAD_CONVERSATION);
    assert_eq!(said(r#"{"progressGet":{"seq":1}}"#).unwrap().0, codes::BAD_CONVERSATION);
    assert_eq!(code(&ClientFrame::ProgressGet { conversation: GROUP, seq: u64::MAX }), None);
    for off in [false, true] {
        for (user, expected) in [("", None), ("ann", None), ("a\n", Some(codes::BAD_USER))] {
            assert_eq!(code(&ClientFrame::Block { user: user.into(), off }), expected, "{user:?}");
        }
        let long = "a".repeat(MAX_USER + 1).into();
        assert_eq!(code(&ClientFrame::Block { user: long, off }), Some(codes::BAD_USER));
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::engine::{Engine, general_purpose::STANDARD};
    STANDARD.encode(bytes)
}
