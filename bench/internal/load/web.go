//go:build linux

package load

import (
	"bytes"
	"fmt"

	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// upgrade makes a connection a WebSocket.
func upgrade(fd int, host string) error {
	answer, err := exchange(fd, fmt.Appendf(nil, wire.UpgradeRequest, host), func(answer, came []byte) ([]byte, bool, error) {
		answer = append(answer, came...)
		return answer, bytes.Contains(answer, []byte("\r\n\r\n")), nil
	})
	switch {
	case err != nil:
		return err
	case !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")), !bytes.Contains(answer, []byte(wire.AcceptedKey)),
		!bytes.HasSuffix(answer, []byte("\r\n\r\n")):
		return fmt.Errorf("the server answers %.400q", answer)
	}
	return nil
}

// askWeb is ask over WebSocket. Nothing else may be on its way from the server.
func askWeb(fd int, d wire.Dialect, frame []byte) ([]byte, error) {
	var u wire.Unwrapper
	return exchange(fd, wire.AppendMasked(nil, frame), func(reply, came []byte) ([]byte, bool, error) {
		for len(came) > 0 {
			payload, rest, err := u.Next(came)
			if err != nil {
				return nil, false, err
			}
			reply, came = append(reply, payload...), rest
		}
		return reply, isWhole(d, reply), nil
	})
}

// payload returns how many bytes of b are payload of WebSocket messages.
func (c *conn) payload(b []byte) (n int, err error) {
	for len(b) > 0 {
		piece, rest, err := c.in.Next(b)
		if err != nil {
			return n, err
		}
		n, b = n+len(piece), rest
	}
	return n, nil
}
