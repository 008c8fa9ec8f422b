package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/protocol"
)

// Presence says which state others see a user in. A *presence.Service is one; the interface lets a program without presence do without the
// package.
type Presence interface {
	// Visible may be called from any goroutine, and does not block.
	Visible(userID string) protocol.PresenceState
}

// Chat tells of users' contacts and groups. A *chat.Service is one; the interface lets a program without chat do without the package. Its
// methods may be called from any goroutine, and block until ctx ends at most.
type Chat interface {
	// Contacts returns so many of a user's contacts at most, after an ID, in the order of their IDs.
	Contacts(ctx context.Context, userID, after string, limit int) ([]chat.Contact, error)
	// Groups returns the groups that a user is in.
	Groups(ctx context.Context, userID string) ([]chat.Group, error)
}

// chatPatience is how long the store of a chat may take for an answer.
const chatPatience = 5 * time.Second

// relationsView is what the chat knows of a user.
type relationsView struct {
	User     string        `json:"user"`
	Contacts []contactView `json:"contacts"`
	Next     string        `json:"next"` // the ID to go on after; "" after the last contact
	Groups   []groupView   `json:"groups"`
}

type contactView struct {
	User    string    `json:"user"`
	State   string    `json:"state"` // as protocol.ContactState says it; "" for neither asked nor friends
	Blocked bool      `json:"blocked"`
	Since   time.Time `json:"since,omitzero"`
}

type groupView struct {
	ID      uint64 `json:"id"`
	Name    string `json:"name"`
	Owner   string `json:"owner"`
	Members int    `json:"members"`
}

// relations answers with a user's contacts and groups. The contacts come by pages, the groups with the first one.
func (a *Admin) relations(c *call) {
	limit, ok := c.number("limit", 100, 1, 1000)
	if !ok {
		return
	}
	id, after := c.param("id"), c.param("after")
	switch {
	case id == "":
		c.fail(http.StatusBadRequest, "id is missing: the user's ID")
		return
	case a.cfg.Chat == nil:
		c.fail(http.StatusNotFound, "admin.Config.Chat is not set, so that contacts and groups are not known")
		return
	}
	ctx, cancel := context.WithTimeout(c.Context(), chatPatience)
	defer cancel()
	v := relationsView{User: id, Contacts: []contactView{}, Groups: []groupView{}}
	contacts, err := a.cfg.Chat.Contacts(ctx, id, after, limit)
	if err == nil && after == "" {
		var groups []chat.Group
		groups, err = a.cfg.Chat.Groups(ctx, id)
		for i := range groups {
			g := &groups[i]
			v.Groups = append(v.Groups, groupView{uint64(g.ID), g.Name, g.Owner, g.Members})
		}
	}
	if err != nil {
		c.fail(http.StatusBadGateway, "the chat: "+err.Error())
		return
	}
	for i := range contacts {
		x := &contacts[i]
		state := ""
		if x.State != 0 {
			state = x.State.String()
		}
		v.Contacts = append(v.Contacts, contactView{x.UserID, state, x.Blocked, x.Since})
	}
	if len(contacts) == limit {
		v.Next = contacts[limit-1].UserID
	}
	c.answer(v)
}
