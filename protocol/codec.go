package protocol

// Limits of a message, in bytes.
const (
	// DefaultMaxBody is the largest body that may be sent, either way, unless the server says otherwise (FieldMaxBody).
	DefaultMaxBody = 1 << 20
	// MaxUserID is the longest user ID.
	MaxUserID = 255
)

// DecodeOptions tell a codec what it may accept at this point of a connection.
type DecodeOptions struct {
	First    bool // no message of this connection has been decoded yet
	MaxBody  int  // the largest body, in bytes; 0 means no limit
	MaxFrame int  // the largest frame with all that belongs to it, in bytes; 0 means no limit
	// Seen is how many bytes at the start of src an earlier call found unfinished: a codec that searches for the end of a
	// message need not search them again. 0 says nothing: they may have been looked at, or not.
	Seen int
}

// Codec is a wire format: it finds one message in a byte slice, and appends one message to a byte slice. One value
// serves many connections at once and keeps no state about any of them, unless it is made for one (engine.Listener's
// NewCodec): then it may keep what it likes, and needs no lock.
//
// [Binary] is Rollcall's own, [Line] is for people with telnet or nc. A program with a format of its own gives its own
// codec; everything else stays the same.
type Codec interface {
	// Decode looks for one message at the start of src and decodes it into m, all fields of it.
	//
	// It returns n > 0, the bytes that the message took, when there is one. With n == 0 and a nil error the message is
	// unfinished, and need, more than len(src), is the number of bytes that src must hold before asking again can help.
	// An error, a *CloseError with the code for the peer, ends the connection; it is returned as soon as the bytes
	// that are there show it.
	//
	// m.Body may alias src. When m arrives with a UserID or DestUserID that equals the decoded one, the codec leaves
	// the string as it is and does not allocate it again.
	Decode(src []byte, m *Message, o DecodeOptions) (n, need int, err error)

	// Append appends m's frame to dst and returns the extended slice. A codec without notices, replies or errors
	// returns dst as it was for them. An error leaves dst as it was, and says what cannot be encoded.
	Append(dst []byte, m *Message) ([]byte, error)
}
