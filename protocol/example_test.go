package protocol_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/rollcall-go/rollcall/protocol"
)

// A frame there and back. Decode says what it needs until the frame is there.
func Example_binary() {
	frame, err := protocol.Binary.Append(nil, &protocol.Message{
		Type: 1, ID: 7, UserID: "alice", DestUserID: "bob", Body: []byte("hello"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("% x\n", frame)

	var m protocol.Message
	limits := protocol.DecodeOptions{MaxBody: protocol.DefaultMaxBody}
	for have := 0; ; {
		n, need, err := protocol.Binary.Decode(frame[:have], &m, limits)
		if err != nil {
			fmt.Println(err)
			return
		}
		if n > 0 {
			break
		}
		fmt.Printf("of %d bytes: %d are needed\n", have, need)
		have = need
	}
	fmt.Printf("%s to %s: %s\n", m.UserID, m.DestUserID, m.Body)
	// Output:
	// 52 10 00 01 00 00 00 0d 00 00 00 07 05 03 00 00 61 6c 69 63 65 62 6f 62 68 65 6c 6c 6f
	// of 0 bytes: 16 are needed
	// of 16 bytes: 29 are needed
	// alice to bob: hello
}

// The line format: what a person types, and what the server answers.
func Example_line() {
	var m protocol.Message
	if _, _, err := protocol.Line.Decode([]byte("@bob /1:7 are you there?\r\n"), &m, protocol.DecodeOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("to %s, type %d, ID %d: %s\n", m.DestUserID, m.Type, m.ID, m.Body)

	body := []byte("\x13\x88\x00\x0ebob is offline") // 5000, UserOffline, and a text of 14 bytes
	line, err := protocol.Line.Append(nil, &protocol.Message{
		Type: m.Type, ID: m.ID, Flags: protocol.FlagReply | protocol.FlagError, Body: body,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(line))
	// Output:
	// to bob, type 1, ID 7: are you there?
	// ! /1:7 5000 UserOffline bob is offline
}

// A close code is found in any chain of errors.
func ExampleCloseError() {
	err := fmt.Errorf("logon of alice: %w", &protocol.CloseError{
		Code: protocol.ServerStopping, Text: "back soon", Info: map[string]string{protocol.FieldRetryMS: "5000"},
	})

	var closed *protocol.CloseError
	if errors.As(err, &closed) && closed.Code.MayReconnect() {
		fmt.Println(err)
		fmt.Println("come back after", closed.Info[protocol.FieldRetryMS], "ms")
	}
	// Output:
	// logon of alice: rollcall: ServerStopping: back soon
	// come back after 5000 ms
}

func ExampleCloseCode_MayReconnect() {
	for _, code := range []protocol.CloseCode{protocol.HeartbeatTimeout, protocol.PushedOut, 3001, 4001} {
		fmt.Println(code, code.MayReconnect())
	}
	// Output:
	// HeartbeatTimeout true
	// PushedOut false
	// code 3001 true
	// code 4001 false
}

func ExampleCheckUserID() {
	fmt.Println(protocol.CheckUserID("alice"))
	fmt.Println(protocol.CheckUserID("_0"))
	// Output:
	// <nil>
	// rollcall: InvalidMessage: the user ID "_0" is reserved: it begins with '_'
}

// The reply to a Logon, accepted and refused.
func ExampleParseLogonReply() {
	accepted, err := protocol.AppendStringMap([]byte{0, 0}, map[string]string{protocol.FieldHeartbeatMS: "10000"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(protocol.ParseLogonReply(accepted))

	refused := []byte("\x07\xd3\x00\x09bad token") // 2003, Unauthorized, and a text of 9 bytes
	fmt.Println(protocol.ParseLogonReply(refused))
	// Output:
	// map[heartbeat-ms:10000] <nil>
	// map[] rollcall: Unauthorized: bad token
}

// A push, as a client reads it, whose ID is the body of the PushAck.
func ExampleParsePush() {
	body := slices.Concat(
		[]byte{0x01, 0x97, 0xab, 0xcd, 0xef, 0x01, 0x72, 0x34, 0x89, 0xab, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab}, // ID
		[]byte{1, 1},    // a text, to be confirmed
		make([]byte, 8), // at an unknown time
		[]byte{0, 0},    // no name, and no metadata
		[]byte("hello"))
	p, err := protocol.ParsePush(body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%v, to be confirmed: %v: %s\n", p.Kind, p.Confirm, p.Content)
	fmt.Printf("% x\n", p.ID[:])
	// Output:
	// Text, to be confirmed: true: hello
	// 01 97 ab cd ef 01 72 34 89 ab 01 23 45 67 89 ab
}
