package protocol

// Limits of a message, in bytes.
const (
	// DefaultMaxBody is the largest body that may be sent, either way, unless a Logon's reply says otherwise (max-body).
	DefaultMaxBody = 1 << 20
	// MaxUserID is the longest user ID.
	MaxUserID = 255
)

// DecodeOptions say what a codec may accept at this point of a connection.
type DecodeOptions struct {
	First    bool // no message of this connection has been decoded yet
	MaxBody  int  // the largest body, in bytes; 0 means no limit
	MaxFrame int  // the largest frame, header included, in bytes; 0 means no limit
	// Seen is the number of bytes at the start of src that an earlier call found unfinished, so that a codec that searches for
	// the end of a message can skip them. With 0 it must search from the start.
	Seen int
}

// Codec is a wire format: it finds one message in a byte slice, and appends one message to a byte slice. One value serves many
// connections at once and keeps no state about any of them. A codec that engine.Listener's NewCodec makes serves one connection:
// it may keep state, and needs no lock.
//
// [Binary] is Rollcall's own format; [Line] is for people with telnet or nc. A program with a format of its own provides its own
// codec; everything else stays the same.
type Codec interface {
	// Decode looks for one message at the start of src and decodes it into m. It sets all fields of m.
	//
	// When src begins with a whole message, Decode returns its length, n > 0. With n == 0 and a nil error the message is
	// unfinished; need, which is more than len(src), is the number of bytes that src must hold before the next call. An error,
	// a *CloseError with the code for the peer, ends the connection; Decode returns it as soon as the bytes in src show the
	// mistake.
	//
	// m.Body may alias src. When m comes with a UserID or DestUserID that equals the decoded one, the codec leaves the string
	// as it is and does not allocate it again.
	Decode(src []byte, m *Message, o DecodeOptions) (n, need int, err error)

	// Append appends m's frame to dst and returns the extended slice. A format that has no frame for a notice, a reply or an
	// error returns dst unchanged. With an error dst is unchanged; the error says what cannot be encoded.
	Append(dst []byte, m *Message) ([]byte, error)
}
