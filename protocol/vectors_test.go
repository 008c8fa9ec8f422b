package protocol_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// testdata/vectors.json is for clients in any language, and vectors.txt for those without JSON. They are written from the tables
// in vectorcases_test.go and vectorencode_test.go by
//
//	go test ./protocol -run TestVectors -update
//
// The table spells every byte out, or puts it together with raw below: never with the code under test.
var update = flag.Bool("update", false, "write testdata/vectors.json and vectors.txt")

const (
	vectorsFile     = "testdata/vectors.json"
	vectorLinesFile = "testdata/vectors.txt"
)

type vectorFile struct {
	About   []string `json:"about"`
	Vectors []vector `json:"vectors"`
}

// vector is one frame and what a decoder makes of it: exactly one of Valid, Error and Need is set.
type vector struct {
	Name      string `json:"name"`
	Direction string `json:"direction"` // client-to-server, server-to-client or both
	Hex       string `json:"hex"`
	MaxBody   int    `json:"max_body,omitempty"`  // the decoder's limits, in bytes; absent is none
	MaxFrame  int    `json:"max_frame,omitempty"` //

	Valid *vectorMessage     `json:"valid,omitempty"`
	Error string             `json:"error,omitempty"`      // the name of the close code
	Code  protocol.CloseCode `json:"error_code,omitempty"` // the close code
	// RefusedAt is with how many bytes of the frame a decoder can tell that it is to be refused.
	RefusedAt int `json:"refused_at,omitempty"`
	Need      int `json:"need,omitempty"` // an unfinished frame: the bytes that must be there before it is worth looking
}

type vectorMessage struct {
	Type       uint16 `json:"type"`
	Reply      bool   `json:"reply"`
	Error      bool   `json:"error"`
	ID         uint32 `json:"id"`
	Device     uint16 `json:"device"`
	UserID     string `json:"user_id"`
	DestUserID string `json:"dest_user_id"`
	BodyHex    string `json:"body_hex"`
	Body       *body  `json:"body,omitempty"` // what the body means, for the system's messages and error replies
}

// body is what a body means; exactly one field is set.
type body struct {
	Logon   *map[string]string `json:"logon,omitempty"`       // a string map
	Welcome *map[string]string `json:"logon_reply,omitempty"` // code 0 and a string map
	Close   *closeBody         `json:"close,omitempty"`       // a code and a text
	Push    *pushBody          `json:"push,omitempty"`
	PushAck string             `json:"push_ack,omitempty"` // the push's ID
	IDs     *[]string          `json:"id_list,omitempty"`  // of WhoIsOnline and its reply
	Op      *operationBody     `json:"operation,omitempty"`
	Error   protocol.CloseCode `json:"error_code,omitempty"` // the frame is fine, its body is not
}

type closeBody struct {
	Code protocol.CloseCode `json:"code"`
	Text string             `json:"text"`
	Info map[string]string  `json:"info,omitempty"`
}

type pushBody struct {
	ID         string            `json:"id"`
	Kind       protocol.PushKind `json:"kind"`
	Name       string            `json:"name,omitempty"`
	Confirm    bool              `json:"confirm"`
	TimeMS     int64             `json:"time_ms"` // 0 is unknown
	Metadata   map[string]string `json:"metadata,omitempty"`
	ContentHex string            `json:"content_hex"`
}

// raw puts a frame together, field by field.
func raw(first, flags byte, typ uint16, id uint32, device uint16, user, dest string, body []byte) []byte {
	f := []byte{first, 1<<4 | flags}
	f = binary.BigEndian.AppendUint16(f, typ)
	f = binary.BigEndian.AppendUint32(f, uint32(len(user)+len(dest)+len(body)))
	f = binary.BigEndian.AppendUint32(f, id)
	f = append(f, byte(len(user)), byte(len(dest)))
	f = binary.BigEndian.AppendUint16(f, device)
	f = append(f, user...)
	f = append(f, dest...)
	return append(f, body...)
}

// bytesOf reads hex with spaces.
func bytesOf(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		tb.Fatalf("%q: %v", s, err)
	}
	return b
}

func readVectors(tb testing.TB) []vector {
	tb.Helper()
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		tb.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(text, &f); err != nil {
		tb.Fatal(err)
	}
	return f.Vectors
}

// validVectors gives the bytes of every valid frame, for tests that hold for each of them.
func validVectors(tb testing.TB) map[string][]byte {
	frames := make(map[string][]byte)
	for _, v := range readVectors(tb) {
		if v.Valid != nil {
			frames[v.Name] = bytesOf(tb, v.Hex)
		}
	}
	return frames
}

// The file that clients in other languages test against is what the table says.
func TestVectorsAreCurrent(t *testing.T) {
	want, err := json.MarshalIndent(vectorFile{About: aboutVectors, Vectors: vectorCases()}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	checkCurrent(t, vectorsFile, append(want, '\n'))
	checkCurrent(t, vectorLinesFile, vectorLines(t))
}

func checkCurrent(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the table; write it with -update", file)
	}
}

// The wire is what the vectors say, in both directions.
func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			frame := bytesOf(t, v.Hex)
			o := protocol.DecodeOptions{MaxBody: v.MaxBody, MaxFrame: v.MaxFrame}
			switch {
			case v.Valid != nil:
				checkValid(t, frame, v.Valid, o)
			case v.Error != "":
				checkRefused(t, frame, v, o)
			default:
				var m protocol.Message
				if n, need, err := protocol.Binary.Decode(frame, &m, o); n != 0 || need != v.Need || err != nil {
					t.Errorf("Decode = %d, %d, %v; want an unfinished frame that needs %d", n, need, err, v.Need)
				}
			}
		})
	}
}

func checkValid(t *testing.T, frame []byte, want *vectorMessage, o protocol.DecodeOptions) {
	t.Helper()
	var m protocol.Message
	if n, _, err := protocol.Binary.Decode(frame, &m, o); n != len(frame) || err != nil {
		t.Fatalf("Decode = %d, %v; want %d", n, err, len(frame))
	}
	got := vectorMessage{Type: m.Type, Reply: m.IsReply(), Error: m.Flags&protocol.FlagError != 0, ID: m.ID, Device: m.Device,
		UserID: m.UserID, DestUserID: m.DestUserID, BodyHex: hex.EncodeToString(m.Body), Body: want.Body}
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("Decode gives %+v, want %+v", got, *want)
	}
	if again, err := protocol.Binary.Append(nil, &m); err != nil || !bytes.Equal(again, frame) {
		t.Errorf("Append = %x, %v; want %x", again, err, frame)
	}
	if want.Body != nil {
		checkBody(t, &m, want.Body)
	}
}

func checkBody(t *testing.T, m *protocol.Message, want *body) {
	t.Helper()
	b := m.Body
	var got any
	var err error
	var again []byte // what this package would have written
	switch {
	case want.Error != 0:
		if err := parseError(m); codeOf(err) != want.Error {
			t.Errorf("the body's error is %v, want %v", err, want.Error)
		}
		return
	case want.Logon != nil:
		var fields map[string]string
		fields, err = system.ParseStringMap(b)
		if len(b) > 0 { // an empty body is an empty map, but is not what AppendStringMap writes
			again, _ = protocol.AppendStringMap(nil, fields)
		}
		got = body{Logon: &fields}
	case want.Welcome != nil:
		var fields map[string]string
		fields, err = protocol.ParseLogonReply(b)
		if len(b) > 2 {
			again, _ = system.AppendLogonReply(nil, fields)
		} else {
			again = b
		}
		got = body{Welcome: &fields}
	case want.Close != nil:
		var e *protocol.CloseError
		if e, err = protocol.ParseClose(b); err == nil {
			got = body{Close: &closeBody{Code: e.Code, Text: e.Text, Info: e.Info}}
			again = system.AppendClose(nil, e)
		}
	case want.Push != nil:
		var p *protocol.PushMessage
		if p, err = protocol.ParsePush(b); err == nil {
			got = body{Push: toPushBody(p)}
			again, _ = system.AppendPush(nil, p)
		}
	case want.PushAck != "":
		var id uuid.UUID
		id, err = system.ParsePushAck(b)
		got = body{PushAck: id.String()}
		again = system.AppendPushAck(nil, id)
	case want.IDs != nil:
		var ids []string
		ids, err = system.ParseIDList(b)
		got = body{IDs: &ids}
		again, _ = system.AppendIDList(nil, ids)
	case want.Op != nil:
		got, again, err = operationOf(m)
	}
	if err != nil || !reflect.DeepEqual(got, *want) {
		t.Errorf("body is %+v, %v; want %+v", got, err, *want)
	}
	if !bytes.Equal(again, b) {
		t.Errorf("body again is %x, want %x", again, b)
	}
}

// parseError returns why the body of m is refused.
func parseError(m *protocol.Message) (err error) {
	switch m.Type {
	case protocol.TypePush:
		_, err = protocol.ParsePush(m.Body)
	case protocol.TypePushAck:
		_, err = system.ParsePushAck(m.Body)
	case protocol.TypeWhoIsOnline:
		_, err = system.ParseIDList(m.Body)
	case protocol.TypePresence, protocol.TypeContacts, protocol.TypeGroup, protocol.TypeChat:
		_, _, err = operationOf(m)
	default:
		_, err = system.ParseStringMap(m.Body)
	}
	return err
}

func toPushBody(p *protocol.PushMessage) *pushBody {
	b := &pushBody{ID: p.ID.String(), Kind: p.Kind, Name: p.Name, Confirm: p.Confirm, Metadata: p.Metadata,
		ContentHex: hex.EncodeToString(p.Content)}
	if !p.Time.IsZero() {
		b.TimeMS = p.Time.UnixMilli()
	}
	return b
}

func checkRefused(t *testing.T, frame []byte, v vector, o protocol.DecodeOptions) {
	t.Helper()
	for n := range len(frame) + 1 {
		var m protocol.Message
		took, need, err := protocol.Binary.Decode(frame[:n], &m, o)
		if n < v.RefusedAt {
			if took != 0 || need <= n || err != nil {
				t.Fatalf("of %d bytes: Decode = %d, %d, %v; want an unfinished frame", n, took, need, err)
			}
			continue
		}
		if took != 0 || codeOf(err) != v.Code || v.Code.Error() != v.Error {
			t.Fatalf("of %d bytes: Decode = %d, %v; want it refused with %s", n, took, err, v.Error)
		}
	}
}
