package protocol

import (
	"encoding/binary"
	"time"

	"github.com/rollcall-go/rollcall/internal/bodies"
)

// cutter reads the bytes of a list from its beginning. After the first fault err is set, and what is read means nothing.
type cutter struct {
	what string
	rest []byte
	err  error
}

func (c *cutter) fail(format string, a ...any) {
	if c.err == nil {
		c.err = invalid(format, a...)
	}
}

func (c *cutter) bytes(n int) []byte {
	if c.err != nil || n < 0 || len(c.rest) < n {
		c.fail("%s is cut off", c.what)
		return make([]byte, 16) // long enough for a number and an ID
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cutter) u8() uint8   { return c.bytes(1)[0] }
func (c *cutter) u16() uint16 { return binary.BigEndian.Uint16(c.bytes(2)) }
func (c *cutter) u32() uint32 { return binary.BigEndian.Uint32(c.bytes(4)) }

// number reads a number up to bodies.MaxNumber.
func (c *cutter) number() uint64 {
	n := binary.BigEndian.Uint64(c.bytes(8))
	if n > bodies.MaxNumber {
		c.fail("%s has the number %d, they are below 2^63", c.what, n)
	}
	return n
}

func (c *cutter) time() time.Time { return timeOf(c.bytes(8)) }

// id reads a user's ID, which may be a reserved one.
func (c *cutter) id() string {
	id := string(c.bytes(int(c.u8())))
	if c.err == nil {
		if text := bodies.IDFault(id); text != "" {
			c.fail("the user ID %.64q of %s %s", id, c.what, text)
		}
	}
	return id
}

// parseList reads u16 count, at most bodies.MaxList, and so many entries, each of which has at least so many bytes. Nothing may follow. The
// result is never nil without an error.
func parseList[T any](body []byte, what string, least int, parse func(c *cutter) T) ([]T, error) {
	c := &cutter{what: what, rest: body}
	count := int(c.u16())
	if count > bodies.MaxList {
		c.fail("%d entries of %s, the limit is %d", count, what, bodies.MaxList)
	}
	all := make([]T, 0, min(count, len(c.rest)/least)) // never for more than the bytes can hold
	for c.err == nil && len(all) < count {
		all = append(all, parse(c))
	}
	if c.err == nil && len(c.rest) > 0 {
		c.fail("%d bytes after %s", len(c.rest), what)
	}
	if c.err != nil {
		return nil, c.err
	}
	return all, nil
}
