// What the Kitex peers of `tests/interop` speak.
namespace go interop
namespace py interop

exception Refused {
  1: string reason
}

service Peer {
  // Answers with JSON: `text`, and the metadata that came with the call.
  string Call(1: string text)
  // The same under another name, for routes by method.
  string Other(1: string text)
  // Always raises.
  string Refuse(1: string reason) throws (1: Refused refused)
}
