package redisdir

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"github.com/rollcall-go/rollcall/cluster"
)

var _ cluster.DetailStore = (*Directory)(nil)

// Describe implements cluster.DetailStore. The details of a user are a hash, {Prefix}:s:USER, that has the JSON of a cluster.SessionDetail
// for each session, by the generation. The key expires keep after the last write.
func (d *Directory) Describe(ctx context.Context, keep time.Duration, details []cluster.Detail) error {
	commands := make(rueidis.Commands, 0, 2*len(details))
	for _, x := range details {
		key, field := d.detailKey(x.User), number(x.Generation)
		if x.Body == nil {
			commands = append(commands, d.client.B().Hdel().Key(key).Field(field).Build())
			continue
		}
		commands = append(commands,
			d.client.B().Hset().Key(key).FieldValue().FieldValue(field, string(x.Body)).Build(),
			d.client.B().Pexpire().Key(key).Milliseconds(max(keep.Milliseconds(), 1)).Build())
	}
	for _, answer := range d.client.DoMulti(ctx, commands...) {
		if err := answer.Error(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) detailKey(user string) string { return "{" + d.cfg.Prefix + "}:s:" + user }
