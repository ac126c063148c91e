//! Client frames in JSON.

use proptest::prelude::*;

use super::any::client_frame;
use super::client::{damaged, reads_as};
use super::schema::CLIENT;
use crate::types::{ClientFrame, Target};
use crate::{codes, decode_client, json};

fn protobuf(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

fn text(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    frame.encode_json(&mut text);
    text
}

fn read(text: &str) -> ClientFrame<'_> {
    json::decode_client(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn code(text: &str) -> &'static str {
    json::decode_client(text.as_bytes()).expect_err(text).code
}

proptest! {
    #[test]
    fn the_json_of_every_frame_says_the_same_as_its_protobuf(frame in client_frame()) {
        assert_eq!(CLIENT.read_json(&text(&frame)), CLIENT.decode(&protobuf(&frame)));
        reads_as(json::decode_client(&text(&frame)), &frame);
    }

    #[test]
    fn what_another_writer_of_the_mapping_writes_is_read(frame in client_frame(), camel: bool) {
        let theirs = CLIENT.write_json(&CLIENT.decode(&protobuf(&frame)).unwrap(), camel);
        reads_as(json::decode_client(&theirs), &frame);
    }

    #[test]
    fn damaged_text_is_refused_or_read_as_a_valid_frame(
        frame in client_frame(),
        damage in proptest::collection::vec((0u8..4, any::<usize>(), any::<u8>()), 1..4),
    ) {
        let text = damaged(text(&frame), &damage);
        if let Ok(frame) = json::decode_client(&text) {
            reads_as(decode_client(&protobuf(&frame)), &frame);
        }
    }
}

#[test]
fn names_may_be_camel_or_as_in_the_schema_and_others_are_ignored() {
    let expected = ClientFrame::DevicesGet { user: "ann".into() };
    for text in [
        r#"{"devicesGet":{"user":"ann"}}"#,
        r#"{"devices_get":{"user":"ann"}}"#,
        r#" { "new" : [{"deep":[1,{"x":null}]}, 1e400], "devicesGet" : { "user" : "ann" , "more": "\ud800" } } "#,
        r#"{"devicesGet":{"user":"\u0061nn"}, "hello": null}"#,
    ] {
        assert_eq!(read(text), expected);
    }
    for text in ["{}", r#"{"DevicesGet":{"user":"ann"}}"#, r#"{"devices_Get":{"user":"ann"}}"#, r#"{"hello":null}"#] {
        assert_eq!(code(text), codes::UNKNOWN_FRAME, "{text}");
    }
}

#[test]
fn integers_may_be_numbers_or_text() {
    for number in ["7", "\"7\"", "7.0", "0.7e1", "\"7.0\""] {
        assert_eq!(read(&format!(r#"{{"ping":{{"nonce":{number}}}}}"#)), ClientFrame::Ping { nonce: 7 });
    }
    let most = format!(r#"{{"ping":{{"nonce":"{}"}}}}"#, u64::MAX);
    assert_eq!(read(&most), ClientFrame::Ping { nonce: u64::MAX });
    for number in ["-1", "1.5", "1e300", "\"\"", "\"x\"", "true", "[]", "18446744073709551616", "\"inf\""] {
        let text = format!(r#"{{"ping":{{"nonce":{number}}}}}"#);
        assert_eq!(code(&text), codes::BAD_FIELD, "{text}");
    }
    assert_eq!(code(r#"{"hello":{"protocol":4294967296}}"#), codes::BAD_FIELD);
}

#[test]
fn bytes_may_be_either_base64_padded_or_not() {
    for body in ["+/8=", "+/8", "-_8=", "-_8", "\\u002b/8="] {
        let text = format!(r#"{{"send":{{"id":"AQ","user":"ann","body":"{body}"}}}}"#);
        let ClientFrame::Send(send) = read(&text) else { panic!("{text}") };
        assert_eq!((&*send.body, send.target), (&b"\xfb\xff"[..], Target::User("ann".into())));
    }
    for body in ["\"+_8=\"", "\"a\"", "\"a b=\"", "5", "[1]"] {
        let text = format!(r#"{{"send":{{"id":"AQ","user":"ann","body":{body}}}}}"#);
        let error = json::decode_client(text.as_bytes()).unwrap_err();
        assert_eq!((error.code, &*error.id), (codes::BAD_FIELD, &b"\x01"[..]), "{text}");
        assert!(error.message.contains("body"), "the message names the field: {error}");
    }
}

#[test]
fn a_value_of_another_type_names_its_field_and_the_send_that_it_is_in() {
    for (field, value) in [
        ("user", "5"),
        ("body", "{}"),
        ("device", "[]"),
        ("bodies", "7"),
        ("media", "\"x\""),
        ("lists", "[[]]"),
        ("conversation", "true"),
    ] {
        for text in [
            format!(r#"{{"send":{{"id":"AQ","{field}":{value}}}}}"#),
            format!(r#"{{"send":{{"{field}":{value},"id":"AQ"}}}}"#),
        ] {
            let error = json::decode_client(text.as_bytes()).unwrap_err();
            assert_eq!((error.code, &*error.id), (codes::BAD_FIELD, &b"\x01"[..]), "{text}");
            assert!(error.message.contains(field), "{text}: {error}");
        }
    }
    let manage = r#"{"manage":{"conversation":5,"id":"Ag"}}"#;
    let error = json::decode_client(manage.as_bytes()).unwrap_err();
    assert_eq!((error.code, &*error.id), (codes::BAD_FIELD, &b"\x02"[..]));
    for text in [r#"{"send":5}"#, r#"{"hello":[]}"#, r#"{"ack":"x"}"#] {
        let error = json::decode_client(text.as_bytes()).unwrap_err();
        assert_eq!(error.code, codes::BAD_FIELD);
        assert!(error.message.contains("expected an object"), "{error}");
    }
}

#[test]
fn what_is_no_json_object_is_malformed() {
    let deep = "[".repeat(100_000);
    let deeper = format!(r#"{{"x":{}"#, "{\"x\":".repeat(100_000));
    for text in
        ["", "5", "[]", "{", "null", r#"{"ping":{}} x"#, r#"{"ping":{},}"#, r#"{"ping":{"nonce":01}}"#, &deep, &deeper]
    {
        assert_eq!(code(text), codes::MALFORMED, "{:.40}", text);
    }
    assert_eq!(json::decode_client(b"{\"ping\":{\"\xff\":1}}").unwrap_err().code, codes::MALFORMED);
    assert_eq!(code(r#"{"ping":{},"pong":{}}"#), codes::MALFORMED);
    assert_eq!(code(r#"{"ping":[]}"#), codes::BAD_FIELD);
    assert_eq!(code(r#"{"read":{"conversation":"AAAAAAAAAAAAAAAAAAAAAA","authors":"ann"}}"#), codes::BAD_FIELD);
}
