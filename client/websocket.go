package client

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

// webSocket is what a connection that speaks WebSocket (RFC 6455) has besides, after its HTTP request. What the client writes at a time
// becomes one message, of whole frames of Rollcall's. What the server's messages hold is one stream of bytes.
type webSocket struct {
	network func([]byte) (int, error) // reads what the network brings
	wake    chan struct{}             // the writer's: it sends the Pong

	// The goroutine that reads uses these.
	reader wsframe.Reader
	found  wsframe.Found
	rest   []byte // bytes of a header or a control frame that is not whole
	plain  []byte // unwrapped and not taken
	over   error  // why no more comes: io.EOF, or an error with a code
	closed bool   // the server's Close frame has come

	pong atomic.Pointer[[]byte] // the payload of the latest Ping; nil when it was answered

	// The goroutine that writes uses these.
	masks *rand.ChaCha8
	out   []byte // the memory of the last message
}

// leastRead is for how many bytes there must be room, so that they are unwrapped in place. It is more than webSocket.rest may have.
const leastRead = 1 << 10

// speakWebSocket makes the connection a WebSocket. early is what the server has sent behind its answer to the HTTP request.
func (cn *conn) speakWebSocket(early []byte) {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // it never fails
	w := &webSocket{network: cn.read, wake: cn.wake, masks: rand.NewChaCha8(seed)}
	w.reader.FromServer = true
	w.plain = early[:w.unwrap(early)]
	cn.ws, cn.frames.read, cn.frames.coded = w, w.read, true
}

// read reads what the server's messages hold.
func (w *webSocket) read(b []byte) (n int, err error) {
	for n == 0 && err == nil {
		switch {
		case len(w.plain) > 0:
			n = copy(b, w.plain)
			if w.plain = w.plain[n:]; len(w.plain) == 0 {
				w.plain = nil
			}
		case w.over != nil:
			err = w.over
		case len(b) < leastRead:
			own := make([]byte, leastRead)
			w.plain = own[:w.fill(own)]
		default:
			n = w.fill(b)
		}
	}
	return n, err
}

// fill reads from the network, and returns how many bytes of payload b begins with then.
func (w *webSocket) fill(b []byte) int {
	kept := copy(b, w.rest)
	n, err := w.network(b[kept:])
	switch {
	case n > 0:
		return w.unwrap(b[:kept+n])
	case errors.Is(err, io.EOF) && (kept > 0 || w.reader.MidMessage()):
		w.over = networkError(errCutOffMessage)
	case errors.Is(err, io.EOF):
		w.over = io.EOF
	case err != nil:
		w.over = networkError(err)
	}
	return 0
}

// unwrap takes frames off raw in place, and returns how many bytes of payload it begins with then.
func (w *webSocket) unwrap(raw []byte) int {
	f := &w.found
	f.Reset()
	n, used, broken := w.reader.Unwrap(raw, f)
	w.rest = append(w.rest[:0], raw[used:]...)
	if f.Ping != nil {
		payload := slices.Clone(f.Ping)
		w.pong.Store(&payload)
		token(w.wake)
	}
	switch {
	case broken != nil:
		w.over = &brokenError{protocol.CloseError{Code: protocol.InvalidMessage, Text: broken.Error()}, broken}
	case f.Closed:
		w.closed, w.over = true, meaning(f.Code, f.Reason)
	}
	return n
}

// message makes frames a message. It is valid until the next call.
func (w *webSocket) message(frames []byte) []byte {
	b := wsframe.AppendMasked(w.out[:0], wsframe.Binary, frames, w.mask())
	if w.out = nil; cap(b) <= maxQueued {
		w.out = b
	}
	return b
}

// mask returns the mask of the next frame. RFC 6455, section 10.3, has it unpredictable.
func (w *webSocket) mask() uint32 { return uint32(w.masks.Uint64()) }

// writePong answers the latest Ping, unless it was answered.
func (cn *conn) writePong() error {
	if cn.ws == nil {
		return nil
	}
	payload := cn.ws.pong.Swap(nil)
	if payload == nil {
		return nil
	}
	return cn.writeBytes(wsframe.AppendMasked(nil, wsframe.Pong, *payload, cn.ws.mask()))
}

// closeFrame returns the Close frame, behind which nothing follows. The server ends TCP then: many proxies take the end of our side alone
// for a client that is gone.
func (w *webSocket) closeFrame(code uint16) []byte {
	return wsframe.AppendMasked(nil, wsframe.Close, wsframe.AppendClose(nil, code, ""), w.mask())
}

// answerClose answers the server's Close with a Close frame, and waits a little until the server ends the connection. Without WebSocket
// the connection just ends.
func (cn *conn) answerClose(why error) {
	if cn.ws == nil {
		return
	}
	cn.mu.Lock()
	if cn.why != nil {
		cn.mu.Unlock()
		return
	}
	if !cn.leaving {
		cn.cut, cn.leaving, cn.out, cn.webCode = true, true, nil, wsframe.Normal
		if cn.timer != nil {
			cn.timer.Stop()
		}
		cn.timer = time.AfterFunc(cn.parting(), func() { cn.end(why) })
	}
	cn.mu.Unlock()
	token(cn.wake)
	cn.abandon(why)
	_, _ = io.Copy(io.Discard, cn.nc)
}

// partAfterRefusal does the same when the logon has failed because of why, before there is a goroutine that writes.
func (cn *conn) partAfterRefusal(why error) {
	var lost *lostError
	if cn.ws == nil || errors.As(why, &lost) && !cn.ws.closed {
		return
	}
	_ = cn.nc.SetDeadline(time.Now().Add(cn.parting()))
	if _, err := cn.nc.Write(cn.ws.closeFrame(webCodeOf(why, 0))); err == nil {
		_, _ = io.Copy(io.Discard, cn.nc)
	}
}

// parting is how long the server may take to end a connection that it has closed.
func (cn *conn) parting() time.Duration { return min(lastWords, cn.client.cfg.Timeouts.Close) }

// webCodeOf returns the code of our Close frame behind a Close with this code.
func webCodeOf(why error, code protocol.CloseCode) uint16 {
	var broken *brokenError
	switch {
	case errors.As(why, &broken):
		return broken.cause.Code
	case code == protocol.InvalidMessage:
		return wsframe.ProtocolError
	case code == protocol.MessageTooLarge:
		return wsframe.TooBig
	case code == protocol.InternalError:
		return wsframe.Internal
	}
	return wsframe.Normal
}

// meaning returns the error for a Close frame of the server's that no Close of Rollcall's has come before: one of a proxy, or of a server
// whose own was lost.
func meaning(code uint16, reason string) error {
	if ce := parseReason(reason); ce != nil {
		return ce
	}
	ce := &protocol.CloseError{Text: printable(reason)}
	switch code {
	case wsframe.GoingAway, restart:
		ce.Code = protocol.ServerStopping
	case wsframe.ProtocolError, wsframe.Unsupported, wsframe.InvalidData, mandatoryExtension:
		ce.Code = protocol.InvalidMessage
	case wsframe.Policy:
		ce.Code = protocol.KickedOut
	case wsframe.TooBig:
		ce.Code = protocol.MessageTooLarge
	case wsframe.Internal:
		ce.Code = protocol.InternalError
	case wsframe.TryLater:
		ce.Code = protocol.TooManyConnections
	default:
		if code < wsframe.FirstApplication {
			return networkError(fmt.Errorf("the server closed the WebSocket with %d %s", code, ce.Text))
		}
		ce.Code = protocol.CloseCode(code)
	}
	return ce
}

// Codes of a Close frame that package wsframe does not name.
const (
	mandatoryExtension = 1010
	restart            = 1012
)

// parseReason returns what a Rollcall server writes in a Close frame, "2002 KickedOut: text", or nil for another text.
func parseReason(reason string) *protocol.CloseError {
	number, name, _ := strings.Cut(reason, " ")
	name, text, _ := strings.Cut(name, ": ")
	n, err := strconv.ParseUint(number, 10, 16)
	code := protocol.CloseCode(n)
	if err != nil || code < protocol.ClientClosed || code >= protocol.UserOffline {
		return nil
	}
	if name != code.Error() && !isName(name) {
		return nil
	}
	return &protocol.CloseError{Code: code, Text: text}
}

// isName reports whether a word may be the name of a code that this version does not know.
func isName(s string) bool {
	return s != "" && s[0] >= 'A' && s[0] <= 'Z' &&
		strings.IndexFunc(s, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') }) < 0
}

// brokenError is a mistake of the server's in its frames.
type brokenError struct {
	protocol.CloseError
	cause *wsframe.Error
}

func (e *brokenError) Unwrap() error { return &e.CloseError }

var errCutOffMessage = errors.New("the server ended the connection within a message of WebSocket")
