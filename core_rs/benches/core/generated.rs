//! The frames of wire.proto that are measured, as `prost-build` would generate them.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub struct ClientFrame {
    #[prost(oneof = "Client", tags = "2, 3")]
    pub frame: Option<Client>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Client {
    #[prost(message, tag = "2")]
    Send(Send),
    #[prost(message, tag = "3")]
    Ack(Ack),
}

#[derive(Clone, PartialEq, Message)]
pub struct Send {
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    #[prost(oneof = "Target", tags = "2, 3")]
    pub target: Option<Target>,
    #[prost(bytes = "vec", tag = "5")]
    pub body: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub media: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Target {
    #[prost(string, tag = "2")]
    User(String),
    #[prost(bytes, tag = "3")]
    Conversation(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub struct Ack {
    #[prost(bytes = "vec", tag = "1")]
    pub conversation: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub receipts: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    pub accepted: Vec<Seqs>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Seqs {
    #[prost(bytes = "vec", tag = "1")]
    pub conversation: Vec<u8>,
    #[prost(uint64, repeated, tag = "2")]
    pub seqs: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ServerFrame {
    #[prost(oneof = "Server", tags = "3")]
    pub frame: Option<Server>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Server {
    #[prost(message, tag = "3")]
    Message(StoredMessage),
}

#[derive(Clone, PartialEq, Message)]
pub struct StoredMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub conversation: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(string, tag = "3")]
    pub sender: String,
    #[prost(uint32, tag = "4")]
    pub device: u32,
    #[prost(bytes = "vec", tag = "5")]
    pub id: Vec<u8>,
    #[prost(uint64, tag = "6")]
    pub time: u64,
    #[prost(bytes = "vec", tag = "7")]
    pub body: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub media: Vec<Vec<u8>>,
    #[prost(string, tag = "9")]
    pub to: String,
}
