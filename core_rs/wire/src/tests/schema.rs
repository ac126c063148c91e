//! The other codec: `wire.proto` itself, compiled when the test runs, read and written by reflection. It shares nothing
//! with the code under test.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, SerializeOptions, prost::Message as _};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let files = protox::compile(["pyrouter/v1/wire.proto"], [folder]).expect("wire.proto compiles");
    DescriptorPool::from_file_descriptor_set(files).expect("its descriptors are whole")
});

/// One of the messages of the schema.
#[derive(Clone, Copy)]
pub struct Kind(pub &'static str);

pub const CLIENT: Kind = Kind("pyrouter.v1.ClientFrame");
pub const SERVER: Kind = Kind("pyrouter.v1.ServerFrame");

pub fn pool() -> &'static DescriptorPool {
    &POOL
}

impl Kind {
    pub fn decode(self, bytes: &[u8]) -> Option<DynamicMessage> {
        DynamicMessage::decode(pool().get_message_by_name(self.0).unwrap(), bytes).ok()
    }

    /// Field by field in the order of the numbers, without what the schema does not know.
    pub fn encode(self, message: &DynamicMessage) -> Vec<u8> {
        message.encode_to_vec()
    }

    pub fn read_json(self, json: &[u8]) -> Option<DynamicMessage> {
        let mut text = serde_json::Deserializer::from_slice(json);
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let descriptor = pool().get_message_by_name(self.0).unwrap();
        DynamicMessage::deserialize_with_options(descriptor, &mut text, &options).ok()
    }

    /// `camel`: lowerCamelCase names, 64-bit integers as text; otherwise the schema's names, and numbers.
    pub fn write_json(self, message: &DynamicMessage, camel: bool) -> Vec<u8> {
        let options = SerializeOptions::new().use_proto_field_name(!camel).stringify_64_bit_integers(camel);
        let mut json = serde_json::Serializer::new(Vec::new());
        message.serialize_with_options(&mut json, &options).unwrap();
        json.into_inner()
    }
}
