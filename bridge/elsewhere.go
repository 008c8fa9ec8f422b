package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

func init() {
	seam.TellerOf = func(b any) seam.Teller {
		t, _ := b.(*Bridge).cfg.Elsewhere.(seam.Teller)
		return t
	}
}

// Elsewhere reaches users whose sessions are on other servers. A cluster.Node is one. Any goroutine may call its methods.
type Elsewhere interface {
	// Send sends a message to the user's sessions on other servers. It returns at once, and copies what it needs of m and o; o may be
	// nil, and o.Report is not called. beside says that sessions here have the message already. Nil means that the message is on its
	// way. undelivered, unless it is nil, is called at most once, later and from any goroutine, when it turns out that no session got
	// the message: with protocol.UserOffline, or why. It must not block.
	Send(userID string, m *protocol.Message, o *engine.SendOptions, beside bool, undelivered func(error)) error
	// Several reports whether a user may have sessions here and on other servers at once. Attach asks it. If so, each message to a
	// user goes to Send too, and otherwise only one to a user without a session here.
	Several() bool
	// Online returns those of the users who are online on any server. An error means that this is not known of all.
	Online(ctx context.Context, userIDs ...string) (online []string, err error)
}

// useElsewhere completes Attach for a bridge with Config.Elsewhere.
func (b *Bridge) useElsewhere() error {
	e := b.cfg.Elsewhere
	if u, ok := e.(seam.BridgeUser); ok {
		var users any
		if b.manager != nil {
			users = b.manager
		}
		if err := u.UseBridge(users, (*localSessions)(b)); err != nil {
			return err
		}
	}
	b.several = e.Several()
	return nil
}

// sendBeyond sends a message to the user's sessions on other servers, after those here, which have had the outcome here. It returns the
// outcome of all.
func (b *Bridge) sendBeyond(userID string, m *protocol.Message, o *engine.SendOptions, here error, undelivered func(error)) error {
	offline := errors.Is(here, protocol.UserOffline)
	switch {
	case b.cfg.Elsewhere == nil || !offline && !b.several:
		return here
	case len(m.Body) > b.hidden.MaxBody():
		return protocol.Errorf(protocol.MessageTooLarge, "the message is larger than MaxBody allows")
	case o != nil && o.Policy > engine.SlowLatest:
		return fmt.Errorf("rollcall: SlowPolicy %d is not defined", o.Policy)
	case !offline:
		undelivered = nil
	}
	if beyond := b.cfg.Elsewhere.Send(userID, m, o, !offline, undelivered); offline {
		return beyond
	}
	return here
}

// localSessions is the bridge as its Elsewhere sees it.
type localSessions Bridge

// Engine is for a cluster.Node that sends a message to everyone.
func (b *localSessions) Engine() *engine.Engine { return (*Bridge)(b).Engine() }

// LogonDeadline implements seam.LocalSessions.
func (b *localSessions) LogonDeadline() time.Duration { return b.cfg.LogonDeadline }

// Deliver implements seam.LocalSessions.
func (l *localSessions) Deliver(userID string, m *protocol.Message, policy uint8, key string) error {
	return (*Bridge)(l).sendHere(userID, m, optionsOf(policy, key))
}

// optionsOf returns the options that a message had where it was sent.
func optionsOf(policy uint8, key string) *engine.SendOptions {
	if policy == 0 && key == "" {
		return nil
	}
	return &engine.SendOptions{Policy: engine.SlowPolicy(policy &^ seam.Unreliable), Key: key, Unreliable: policy&seam.Unreliable != 0}
}
