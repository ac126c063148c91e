//! docs/wire.md says what the schema and the codec do: its tables, its error codes, its examples.

use prost_reflect::{FieldDescriptor, Kind as Type};
use sha2::{Digest, Sha256};

use super::schema::{CLIENT, Kind, SERVER, pool};
use crate::types::Retry;
use crate::{codes, json};
use link::MAGIC;

const DOCS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wire.md"));

/// The lines under a heading, up to the next one.
fn section<'a>(heading: &'a str) -> impl Iterator<Item = &'static str> + use<'a> {
    let mut lines = DOCS.lines().skip_while(move |line| line.trim_start_matches('#').trim() != heading);
    assert!(lines.next().is_some(), "docs/wire.md has no heading {heading}");
    lines.take_while(|line| !line.starts_with('#'))
}

/// The rows of the table under a heading whose first column is called `first`, cell by cell.
fn table(heading: &str, first: &str) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let rows = section(heading).skip_while(|line| !line.starts_with(&format!("| {first} |")));
    rows.take_while(|line| line.starts_with('|')).skip(2).map(cells).collect()
}

/// The insides of fenced blocks of a language.
fn blocks(language: &str) -> Vec<Vec<&'static str>> {
    let fence = format!("```{language}");
    let mut found = Vec::new();
    let mut lines = DOCS.lines();
    while lines.by_ref().any(|line| line == fence) {
        found.push(lines.by_ref().take_while(|line| *line != "```").collect());
    }
    found
}

/// The frames of a transcript: whether a client sent it, and its JSON.
fn frames(block: &[&str]) -> Vec<(bool, String)> {
    let mut frames: Vec<(bool, String)> = Vec::new();
    for line in block {
        if let Some(text) = line.strip_prefix("→ ") {
            frames.push((true, text.to_owned()));
        } else if let Some(text) = line.strip_prefix("← ") {
            frames.push((false, text.to_owned()));
        } else {
            frames.last_mut().expect("a transcript begins with an arrow").1.push_str(line.trim());
        }
    }
    frames
}

fn type_of(field: &FieldDescriptor) -> String {
    let name = match field.kind() {
        Type::Bool => "bool".to_owned(),
        Type::Uint32 => "uint32".to_owned(),
        Type::Uint64 => "uint64".to_owned(),
        Type::String => "string".to_owned(),
        Type::Bytes => "bytes".to_owned(),
        Type::Message(message) => message.name().to_owned(),
        Type::Enum(values) => values.name().to_owned(),
        other => panic!("{other:?}"),
    };
    if field.is_list() { format!("repeated {name}") } else { name }
}

#[test]
fn every_field_of_every_frame_is_told_with_its_number_and_type() {
    for message in pool().all_messages().filter(|message| !message.name().ends_with("Frame")) {
        let heading = format!("`{}`", message.name());
        let told: Vec<String> = table(&heading, "no.").iter().map(|row| row[..3].join(" ")).collect();
        let fields = message.fields().map(|field| format!("{} `{}` {}", field.number(), field.name(), type_of(&field)));
        assert_eq!(told, fields.collect::<Vec<_>>(), "{heading}");
    }
}

#[test]
fn every_value_of_every_enum_is_told() {
    for values in pool().all_enums() {
        for value in values.values() {
            let row = format!("| `{}` | {} |", value.name(), value.number());
            assert!(DOCS.lines().any(|line| line.starts_with(&row)), "{row}");
        }
    }
}

#[test]
fn every_error_code_is_told_with_what_follows_from_it() {
    let told: Vec<String> = table("`Error`", "code").iter().map(|row| row[..3].join(" ")).collect();
    let known = codes::ALL.iter().map(|code| {
        let closes = code.close.map_or("no".to_owned(), |close| close.to_string());
        let retry = match code.retry {
            Retry::Never => "never",
            Retry::After => "after",
            Retry::Reconnect => "reconnect",
            Retry::Changed => "changed",
        };
        format!("`{}` {closes} {retry}", code.name)
    });
    assert_eq!(told, known.collect::<Vec<_>>());
}

#[test]
fn every_transcript_is_of_valid_frames_as_the_codec_writes_them() {
    let mut seen = 0;
    for (sent, text) in blocks("transcript").iter().flat_map(|block| frames(block)) {
        seen += 1;
        if sent {
            let frame = json::decode_client(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
            let mut written = Vec::new();
            frame.encode_json(&mut written);
            assert_eq!(String::from_utf8(written).unwrap(), text);
        } else {
            strictly(SERVER, &text);
        }
    }
    assert!(seen > 50, "{seen} frames");
}

/// The text has nothing that the schema does not know, and is spelt as the server spells it.
fn strictly(kind: Kind, text: &str) {
    let message = kind.read_json(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
    let written: serde_json::Value = serde_json::from_slice(&kind.write_json(&message, true)).unwrap();
    // That writer has all integers of 64 bits as text.
    assert_eq!(as_text(&written), as_text(&serde_json::from_str(text).unwrap()));
}

fn as_text(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Number(number) => number.to_string().into(),
        serde_json::Value::Array(values) => values.iter().map(as_text).collect(),
        serde_json::Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), as_text(v))).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_raw_bytes_are_those_of_the_frames_before_them() {
    let dumps = blocks("hexdump");
    let transcripts = blocks("transcript");
    let last = &transcripts[transcripts.len() - dumps.len()..];
    for (dump, transcript) in dumps.iter().zip(last) {
        let mut expected = Vec::new();
        for (place, (sent, text)) in frames(transcript).iter().enumerate() {
            if *sent && place == 0 {
                expected.extend(MAGIC);
            }
            let kind = if *sent { CLIENT } else { SERVER };
            let frame = kind.encode(&kind.read_json(text.as_bytes()).unwrap());
            prost_reflect::prost::encoding::encode_varint(frame.len() as u64, &mut expected);
            expected.extend(frame);
        }
        let digits = dump.iter().flat_map(|line| line.split(';').next().unwrap_or_default().split_whitespace());
        let told: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        assert_eq!(told, expected);
    }
    assert_eq!(dumps.len(), 2);
}

#[test]
fn the_conversation_ids_are_computed_as_told() {
    let id = b"\xf3\x0c\x9aAw\xe2[\xd8\0\0\0\x04";
    let group = [b"group\0ann\0\0\0\0\x01\0", &id[..]].concat();
    for hashed in [&b"direct\0ann\0bob"[..], b"direct\0ann\0ann", b"device\0ann\0\0\0\0\x01\0bob\0\0\0\0\x02", &group] {
        let id: String = Sha256::digest(hashed)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(DOCS.contains(&format!("`{id}`")), "{id}");
    }
}

/// The limits in words are the constants of the code.
#[test]
fn the_fixed_limits_are_told() {
    use crate::types::{
        MAX_ACCEPTED, MAX_CLIENT, MAX_DESCRIPTION, MAX_ID, MAX_LIST, MAX_MEDIA, MAX_MEDIA_ID, MAX_NAME,
    };
    use crate::types::{MAX_HELLO, MAX_PICTURE, MAX_TOKEN, MAX_USER, MAX_VERSION, SECRET};
    let told: Vec<&str> = table("Limits", "what").iter().map(|row| row[1]).collect();
    let known = [
        format!("1 to {MAX_USER} bytes"),
        format!("1 to {MAX_ID} bytes"),
        "16 bytes".to_owned(),
        format!("{MAX_HELLO} bytes"),
        format!("{MAX_TOKEN} bytes"),
        format!("{MAX_CLIENT} bytes"),
        format!("{MAX_MEDIA} ids of 1 to {MAX_MEDIA_ID} bytes"),
        MAX_LIST.to_string(),
        MAX_LIST.to_string(),
        format!("{MAX_ACCEPTED} messages"),
        format!("{MAX_VERSION} bytes"),
        format!("{MAX_NAME} bytes"),
        format!("{MAX_DESCRIPTION} bytes"),
        format!("{MAX_PICTURE} bytes"),
        format!("{} to {} bytes", SECRET.start(), SECRET.end()),
        "16".to_owned(),
        "1000".to_owned(),
        "1000".to_owned(),
        "within 10 s".to_owned(),
    ];
    assert_eq!(told, known);
}
