//! Server frames, in both notations, as the schema has them.

use super::any::server_frame;
use super::schema::SERVER;
use crate::types::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_frame_is_encoded_as_the_schema_encodes_it(frame in server_frame()) {
        let mut bytes = b"before".to_vec();
        frame.encode(&mut bytes);
        let bytes = &bytes[6..];
        assert_eq!(frame.encoded_len(), bytes.len());
        assert_eq!(&SERVER.encode(&SERVER.decode(bytes).unwrap()), bytes);
    }

    #[test]
    fn the_json_of_every_frame_says_the_same_as_its_protobuf(frame in server_frame()) {
        let (mut bytes, mut json) = (Vec::new(), Vec::new());
        frame.encode(&mut bytes);
        frame.encode_json(&mut json);
        assert_eq!(SERVER.read_json(&json), SERVER.decode(&bytes));
    }
}

#[test]
fn labels_are_those_of_the_schema() {
    for reason in [SkipReason::Expired, SkipReason::Cap, SkipReason::NoBody, SkipReason::Lost, SkipReason::Blocked] {
        let frame = ServerFrame::Skip { conversation: [1; 16], from: 1, to: 1, reason, user: "", version: &[] };
        let (mut bytes, mut json) = (Vec::new(), Vec::new());
        frame.encode(&mut bytes);
        frame.encode_json(&mut json);
        assert_eq!(SERVER.decode(&bytes), SERVER.read_json(&json), "{}", reason.label());
    }
}
