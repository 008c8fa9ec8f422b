package presence_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rollcall-go/rollcall/protocol"
)

// code returns the code that a request was refused with.
func code(err error) protocol.CloseCode {
	var ce *protocol.CloseError
	if errors.As(err, &ce) {
		return ce.Code
	}
	return 0
}

// many is one of many users, with a long ID.
func many(i int) string { return fmt.Sprintf("%s%04d", strings.Repeat("x", 240), i) }

// everybody has many friends.
type everybody struct{}

func (everybody) Watchers(context.Context, string) ([]string, error) { return []string{"ann"}, nil }

func (everybody) Watched(context.Context, string) (all []string, err error) {
	for i := range 1100 {
		all = append(all, many(i))
	}
	return all, nil
}

func (everybody) MaySee(_ context.Context, _ string, about []string) (see, blocked []string, err error) {
	return about, nil, nil
}
