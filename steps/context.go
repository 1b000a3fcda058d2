package steps

import "context"

type worldKey struct{}

// WithWorld gives a context from which WorldFrom takes the World of a run.
func WithWorld(ctx context.Context, w *World) context.Context {
	return context.WithValue(ctx, worldKey{}, w)
}

// WorldFrom gives a team's own step the World of the run that it is part of: to measure, to read a secret, to keep evidence.
// In a context of another kind, as when the same steps run in a test of the team's, there is none: the World then knows an
// empty Target and no secret, forgets what it is told, and does no Cleanup.
func WorldFrom(ctx context.Context) *World {
	if w, found := ctx.Value(worldKey{}).(*World); found {
		return w
	}
	return &World{target: &Target{}, closed: true}
}
