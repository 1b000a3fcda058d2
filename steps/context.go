package steps

import "context"

type worldKey struct{}

// WithWorld returns a context that carries the World of a run for WorldFrom.
func WithWorld(ctx context.Context, w *World) context.Context {
	return context.WithValue(ctx, worldKey{}, w)
}

// WorldFrom returns the World of the run for a team's own step: to measure, to read a secret, to keep evidence. In any other
// context, such as a test of the team, it returns a World with an empty Target and no secrets, which drops reports and runs
// no Cleanup.
func WorldFrom(ctx context.Context) *World {
	if w, found := ctx.Value(worldKey{}).(*World); found {
		return w
	}
	return &World{target: &Target{}, closed: true}
}
