// Customcodec is a server with two wire formats of its own: lines that a person types, and a meter's frames (meter.go). Each
// frame has a serial number and the meter's ID. Start it, then in two terminals:
//
//	nc 127.0.0.1 9001          nc 127.0.0.1 9001
//	I am alice                 I am bob
//	bob: hello                 alice: hello yourself
//
// Everybody sees the readings of all meters, and "meter-7: text" goes to a meter.
//
// People send no heartbeats, and a person who only reads is silent. By default a server ends a session that has been silent for
// 30 s. This example allows ten minutes of silence. An empty line, the Enter key, counts as a sign of life.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	chat    = 1
	reading = 2 // a meter's
	maxLine = 1024
)

// talk is the wire format: the first line is "I am NAME", every other "NAME: text". It keeps nothing between calls.
type talk struct{}

// Decode finds one line at the start of src, of which it has seen o.Seen bytes before.
func (talk) Decode(src []byte, m *protocol.Message, o protocol.DecodeOptions) (n, need int, err error) {
	end := bytes.IndexByte(src[o.Seen:], '\n') + o.Seen
	if end < o.Seen {
		if len(src) >= maxLine {
			return 0, 0, &protocol.CloseError{Code: protocol.MessageTooLarge, Text: "that line is too long"}
		}
		return 0, len(src) + 1, nil
	}
	line := strings.TrimSpace(string(src[:end]))
	if o.First {
		name, ok := strings.CutPrefix(line, "I am ")
		if !ok {
			return 0, 0, &protocol.CloseError{Code: protocol.InvalidMessage, Text: "say who you are first: I am NAME"}
		}
		*m = protocol.Message{Type: protocol.TypeLogon, UserID: name}
		return end + 1, 0, nil
	}
	to, text, ok := strings.Cut(line, ": ")
	if !ok { // any other line, an empty one too, is a sign of life
		*m = protocol.Message{Type: protocol.TypeHeartbeat}
		return end + 1, 0, nil
	}
	*m = protocol.Message{Type: chat, ID: 1, DestUserID: to, Body: []byte(text)}
	return end + 1, 0, nil
}

// Append writes one line: a message, an error, or what the server has to say.
func (talk) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	switch {
	case m.Flags&protocol.FlagError != 0, m.Type == protocol.TypeClose:
		why, err := protocol.ParseClose(m.Body)
		if err != nil {
			return dst, err
		}
		return fmt.Appendf(dst, "! %s: %s\n", why.Code, why.Text), nil
	case m.Type == protocol.TypeLogon:
		return append(dst, "* welcome; write NAME: text, and press Enter now and then\n"...), nil
	case m.Type == protocol.TypeHeartbeat:
		return dst, nil
	case m.UserID == "":
		return fmt.Appendf(dst, "* %s\n", m.Body), nil
	}
	return fmt.Appendf(dst, "%s: %s\n", m.UserID, m.Body), nil
}

func main() {
	addr := flag.String("addr", "127.0.0.1:9001", "TCP address to listen on for people")
	meters := flag.String("meters", "127.0.0.1:9002", "TCP address to listen on for meters")
	flag.Parse()

	srv, err := rollcall.New(rollcall.Config{
		Engine: engine.Config{Listeners: []engine.Listener{
			{Addr: *addr, Codec: talk{}}, // one for all, since it keeps nothing
			{Addr: *meters, NewCodec: func() protocol.Codec { return new(meter) }},
		}},
		Users: usermgr.Config{HeartbeatTimeout: 10 * time.Minute},
	})
	if err != nil {
		log.Fatal(err)
	}
	srv.Users.Subscribe(usermgr.Events{
		Connected:    func(s usermgr.SessionInfo) { log.Print(s.UserID, " is online") },
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) { log.Print(s.UserID, " left: ", why) },
	})
	srv.Handle(chat, func(c *engine.Conn, m *protocol.Message) error {
		relayed := &protocol.Message{Type: chat, UserID: m.UserID, Body: m.Body}
		if err := srv.SendMessage(m.DestUserID, relayed, nil); err != nil {
			return protocol.Errorf(protocol.UserOffline, "%s is not here", m.DestUserID)
		}
		return c.Reply(m, []byte("sent"))
	})

	srv.Handle(reading, func(c *engine.Conn, m *protocol.Message) error {
		_, _ = srv.Broadcast(srv.Conns(), &protocol.Message{Type: reading, UserID: m.UserID, Body: m.Body}, nil)
		return nil
	})

	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", srv.Addrs()[0], "; try: nc ", strings.ReplaceAll(srv.Addrs()[0].String(), ":", " "))
	log.Print("meters on ", srv.Addrs()[1])
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := srv.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
