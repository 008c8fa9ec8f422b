package examples_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testca"
)

// said waits for a line that the example prints, and returns what follows text in it.
func (p *program) said(t *testing.T, text string) (rest string) {
	t.Helper()
	eventually(t, "the example says "+text, func() bool {
		_, after, ok := strings.Cut(p.stderr.String(), text)
		line, _, whole := strings.Cut(after, "\n")
		rest = line
		return ok && whole
	})
	return rest
}

// Each frame has the next serial number and the meter's ID, both ways: answers, messages of people, and broadcasts, of which each
// meter gets its own.
func TestCustomCodecKnowsItsConnection(t *testing.T) {
	server := start(t, "customcodec", "-addr", "127.0.0.1:0", "-meters", "127.0.0.1:0")
	addr, meters := server.address(t), server.said(t, "meters on ")
	const chat, reading, logon, closing = 1, 2, 0xFF01, 0xFF02
	send := func(w io.Writer, serial uint16, id string, typ uint16, body string) {
		f := binary.BigEndian.AppendUint16(nil, uint16(2+1+len(id)+2+len(body)))
		f = append(append(binary.BigEndian.AppendUint16(f, serial), byte(len(id))), id...)
		_, _ = w.Write(append(binary.BigEndian.AppendUint16(f, typ), body...))
	}
	expect := func(r io.Reader, serial uint16, id string, typ uint16, body string) {
		t.Helper()
		var size [2]byte
		_, err := io.ReadFull(r, size[:])
		f := make([]byte, binary.BigEndian.Uint16(size[:]))
		if err == nil {
			_, err = io.ReadFull(r, f)
		}
		want := binary.BigEndian.AppendUint16(nil, serial)
		want = append(append(want, byte(len(id))), id...)
		want = binary.BigEndian.AppendUint16(want, typ)
		if err != nil || !strings.HasPrefix(string(f), string(want)) || !strings.HasSuffix(string(f), body) {
			t.Fatalf("got %q, %v; want %q and %q", f, err, want, body)
		}
	}
	seven, eight, person := dial(t, meters), dial(t, meters), dial(t, addr)
	send(seven, 1, "meter-7", 0, "")
	expect(seven, 1, "meter-7", logon, "")
	send(eight, 1, "meter-8", 0, "")
	expect(eight, 1, "meter-8", logon, "")
	lines := bufio.NewReader(person)
	line := func(want string) {
		t.Helper()
		if got, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(got, want) {
			t.Fatalf("the terminal shows %q, %v; want %q", got, err, want)
		}
	}
	_, _ = io.WriteString(person, "I am alice\n")
	line("* welcome")
	_, _ = io.WriteString(person, "meter-8: reset\n")
	expect(eight, 2, "meter-8", chat, "reset")
	line("* sent")
	for i := range uint16(3) {
		send(seven, 2+i, "meter-7", reading, fmt.Sprint(40+i))
		line(fmt.Sprint("meter-7: ", 40+i))
		expect(seven, 2+i, "meter-7", reading, fmt.Sprint(40+i))
		expect(eight, 3+i, "meter-8", reading, fmt.Sprint(40+i))
	}
	send(eight, 3, "meter-8", reading, "a frame is missing")
	expect(eight, 6, "meter-8", closing, "frame 3 after 1")
	server.end(t, os.Interrupt)
	expect(seven, 5, "meter-7", closing, "")
}

// With -websocket and -unix the echo server listens there too, and says so behind its first address. -tls-cert is for WebSockets too.
func TestEchoListensToWebSocketsAndOnAUnixSocket(t *testing.T) {
	ca := testca.New(t)
	cert, key := ca.Files(ca.Issue("echo"))
	path := filepath.Join(t.TempDir(), "echo")
	onUnix := func(ctx context.Context, _, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	for _, tc := range []struct {
		scheme string
		args   []string
		cfg    client.Config
	}{
		{"ws://", nil, client.Config{}},
		{"wss://", []string{"-tls-cert", cert, "-tls-key", key}, client.Config{TLS: &tls.Config{RootCAs: ca.Pool}}},
	} {
		server := start(t, "echo", append(tc.args, "-addr", "127.0.0.1:0", "-websocket", "127.0.0.1:0", "-unix", path)...)
		web := tc.scheme + server.said(t, "listening on "+tc.scheme)
		if got := server.said(t, "listening on unix:"); got != path {
			t.Errorf("the server listens on %q", got)
		}
		for addr, cfg := range map[string]client.Config{server.address(t): tc.cfg, web: tc.cfg, path: {DialContext: onUnix}} {
			cfg.UserID = "ann"
			c, err := client.Dial(t.Context(), addr, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if m, err := c.Request(t.Context(), 7, []byte("hello")); err != nil || string(m.Body) != "hello" {
				t.Errorf("at %s the answer is %v, %v", addr, m, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		server.end(t, os.Interrupt)
	}
}

// With -udp the echo server listens for datagrams too, and says that they are not encrypted.
func TestEchoListensForDatagrams(t *testing.T) {
	server := start(t, "echo", "-addr", "127.0.0.1:0", "-udp", "127.0.0.1:0")
	c, err := client.Dial(t.Context(), "udp://"+server.said(t, "listening, without encryption, on udp://"), client.Config{UserID: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := c.Request(t.Context(), 7, []byte("hello")); err != nil || string(m.Body) != "hello" {
		t.Errorf("the answer is %v, %v", m, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	server.end(t, os.Interrupt)
}

// With -line the echo server speaks lines on another port.
func TestEchoSpeaksLinesToo(t *testing.T) {
	server := start(t, "echo", "-addr", "127.0.0.1:0", "-line", "127.0.0.1:0", "-keepalive", "1m")
	server.address(t)
	c := dial(t, server.said(t, "lines on "))
	in := bufio.NewReader(c)
	_, _ = io.WriteString(c, "ann\r\n/2:7 hello\r\n")
	for _, want := range []string{"* welcome\t", "= /2:7 hello\n"} {
		if got, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	server.end(t, os.Interrupt)
}
