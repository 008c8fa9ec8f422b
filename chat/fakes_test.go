package chat_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/chat"
)

var errStore = errors.New("the store is down")

// watchedStore is a store whose Append fails, or loses its answers, when a test says so.
type watchedStore struct {
	chat.Store
	fail        atomic.Bool
	failed      atomic.Int32
	loseAnswers atomic.Int32 // of so many calls
}

func (s *watchedStore) Append(ctx context.Context, posts []*chat.Post, allow func(*chat.Post, *chat.Standing) error) error {
	if s.fail.Load() {
		s.failed.Add(1)
		return errStore
	}
	err := s.Store.Append(ctx, posts, allow)
	if err == nil && s.loseAnswers.Add(-1) >= 0 {
		return errStore
	}
	return err
}

// cutMessage returns what a message of a conversation says, of what a peer has heard.
func cutMessage(heard, conversation string) (text string, is bool) {
	text, is = strings.CutPrefix(heard, conversation)
	return text, is && strings.HasPrefix(text, "#")
}
