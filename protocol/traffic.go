package protocol

// Traffic counts messages in one direction.
type Traffic struct {
	Messages uint64
	Bytes    uint64 // with headers
	LastType uint16 // type of the last message; 0 when there was none, or where messages of many connections are counted
}
