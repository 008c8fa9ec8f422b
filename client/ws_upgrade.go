package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/rollcall-go/rollcall/protocol"
)

const (
	// subprotocol is what the client offers.
	subprotocol = "rollcall.v1"
	// maxAnswer is how many bytes the answer to the HTTP request may have, with what comes in one piece with it.
	maxAnswer = 16 << 10
	// maxExcuse is how many bytes of a refusal's text are looked at.
	maxExcuse = 200
)

// upgrade sends the HTTP request that begins a WebSocket (RFC 6455, section 4.1), and returns what the server has sent behind its answer.
// A refusal has a *protocol.CloseError in its chain.
func upgrade(ctx context.Context, nc net.Conn, t *target) (early []byte, err error) {
	stop := interrupts(ctx, nc)
	early, err = askForWebSocket(nc, t)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("rollcall: no WebSocket at %s: %w", t.name, err)
	}
	return early, nil
}

func askForWebSocket(nc net.Conn, t *target) (early []byte, err error) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: rollcall\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n", t.url.RequestURI(), t.host, key, subprotocol)
	if _, err := nc.Write(request); err != nil {
		return nil, networkError(err)
	}
	limited := &io.LimitedReader{R: nc, N: maxAnswer}
	in := bufio.NewReader(limited)
	text := textproto.NewReader(in)
	var status int
	var phrase string
	var header textproto.MIMEHeader
	for status < 200 && status != 101 { // others below 200 come before the answer
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, badAnswer(err, limited)
		}
		if status, phrase, err = parseStatus(strings.TrimRight(line, "\r\n")); err != nil {
			return nil, err
		}
		if header, err = text.ReadMIMEHeader(); err != nil {
			return nil, badAnswer(err, limited)
		}
	}
	if status != 101 {
		_ = nc.SetReadDeadline(time.Now().Add(lastWords)) // the text is for people; it is not waited for
		return nil, refusal(status, phrase, header, excuse(in, header))
	}
	if err := checkAnswer(header, key); err != nil {
		return nil, err
	}
	early, _ = in.Peek(in.Buffered())
	return bytes.Clone(early), nil
}

// badAnswer returns the error for an answer that could not be read.
func badAnswer(err error, from *io.LimitedReader) error {
	var malformed textproto.ProtocolError
	switch {
	case from.N <= 0:
		return mistake("the answer to the HTTP request has more than %d bytes", maxAnswer)
	case errors.As(err, &malformed):
		return mistake("the answer to the HTTP request is malformed: %s", printable(malformed.Error()))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errAnswerCutOff
	}
	return networkError(err)
}

var errAnswerCutOff = errors.New("the server ended the connection within its answer to the HTTP request")

func mistake(format string, args ...any) error {
	return &protocol.CloseError{Code: protocol.InvalidMessage, Text: fmt.Sprintf(format, args...)}
}

// parseStatus reads the first line of an answer.
func parseStatus(line string) (status int, phrase string, err error) {
	version, rest, _ := strings.Cut(line, " ")
	number, phrase, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(number, 10, 16)
	if !strings.HasPrefix(version, "HTTP/1.") || err != nil || len(number) != 3 || n < 100 {
		return 0, "", mistake("the server does not speak HTTP, it begins with %s", printable(line))
	}
	return int(n), phrase, nil
}

// checkAnswer returns an error for an answer with the status 101 that begins no WebSocket of ours.
func checkAnswer(h textproto.MIMEHeader, key string) error {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	accept, chosen := h.Values("Sec-Websocket-Accept"), h.Values("Sec-Websocket-Protocol")
	switch {
	case !hasToken(h, "Upgrade", "websocket"), !hasToken(h, "Connection", "upgrade"):
		return mistake("the answer switches to another protocol than WebSocket")
	case len(accept) != 1 || accept[0] != base64.StdEncoding.EncodeToString(sum[:]):
		return mistake("the Sec-WebSocket-Accept of the answer is wrong: it does not answer this request")
	case len(h.Values("Sec-Websocket-Extensions")) > 0:
		return mistake("the server uses an extension of WebSocket that the client has not offered")
	case len(chosen) > 1, len(chosen) == 1 && chosen[0] != subprotocol:
		return mistake("the server chooses the subprotocol %s, and %s was offered", printable(strings.Join(chosen, ", ")), subprotocol)
	}
	return nil
}

func hasToken(h textproto.MIMEHeader, name, token string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// excuse returns the first line of a refusal's body, shortened.
func excuse(in *bufio.Reader, h textproto.MIMEHeader) string {
	body := io.Reader(in)
	if n, err := strconv.ParseUint(h.Get("Content-Length"), 10, 63); err == nil {
		body = io.LimitReader(in, int64(n))
	}
	lines := bufio.NewReader(body)
	line := firstLine(lines)
	if hasToken(h, "Transfer-Encoding", "chunked") { // that was the size of the first piece
		line = firstLine(lines)
	}
	return printable(line)
}

// firstLine returns the beginning of a line.
func firstLine(in *bufio.Reader) string {
	var line []byte
	for len(line) < maxExcuse {
		c, err := in.ReadByte()
		if err != nil || c == '\n' {
			break
		}
		line = append(line, c)
	}
	return string(line)
}

// printable returns the beginning of a text of the server's for people.
func printable(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxExcuse)], "\uFFFD")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}

// refusal returns the error for an answer that begins no WebSocket. Statuses of which a server may think better later, or with which a
// proxy says that the server is not there, allow to reconnect. So do those of success and redirections: where the network itself answers,
// such as that of a hotel, it does so with them until a person has logged on to it.
func refusal(status int, phrase string, h textproto.MIMEHeader, text string) error {
	said := strings.TrimSpace(fmt.Sprintf("the server answered %d %s", status, printable(phrase)))
	if text != "" {
		said += ": " + text
	}
	ce := &protocol.CloseError{Text: said}
	switch {
	case status == 503, status == 429:
		ce.Code = protocol.TooManyConnections
		if s, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31); err == nil {
			ce.Info = map[string]string{protocol.FieldRetryMS: strconv.FormatUint(1000*s, 10)}
		}
	case status == 401, status == 403:
		ce.Code = protocol.Unauthorized
	case status >= 400 && status < 500 && status != 408:
		ce.Code = protocol.InvalidMessage
	default:
		return networkError(errors.New(said))
	}
	return ce
}
