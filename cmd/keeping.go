package cmd

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/stepwatch/stepwatch/agent/api"
	"github.com/stepwatch/stepwatch/agent/database"
	"github.com/stepwatch/stepwatch/agent/history"
	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/agent/state"
)

// keeping is what an agent keeps over restarts, each part in a file of the state directory. What cannot be kept there is in
// memory, and the log says so.
type keeping struct {
	states   *state.Tracker // closed by the agent
	silences *silence.Book
	history  *history.History   // of the runs; nil without one. It is closed by the service, when it has its last results
	db       *database.DB       // of the states; nil if they are in memory only
	store    *silence.FileStore // of the silences; nil if they are in memory only
	files    []io.Closer
}

// storage describes the file of the states. trouble is why it was not written the last time.
func (k *keeping) storage(trouble error) *api.Storage {
	if k.db == nil {
		return nil
	}
	s := &api.Storage{Path: k.db.Path(), Bytes: k.db.Bytes(), SetAside: k.db.Aside()}
	if trouble != nil {
		s.Error = trouble.Error()
	}
	return s
}

// troubles says what is wrong with what is kept, except for the states and the history, which the API describes on their own.
func (k *keeping) troubles() (said []string) {
	switch {
	case k.db == nil:
		said = append(said, "states, alerts and silences are in memory only: the log of the start says why")
	case k.store == nil:
		said = append(said, "silences are in memory only: the log of the start says why")
	}
	if err := k.silences.Trouble(); err != nil && k.store != nil {
		said = append(said, err.Error())
	}
	if k.store != nil && k.store.Aside() != "" {
		said = append(said, "the file of the silences was damaged and begun anew, so silences may be missing: \"stepwatch silence list\" shows them; the old file is "+k.store.Aside())
	}
	return said
}

// inMemory returns a keeping that forgets everything at the end of the program.
func inMemory(ctx context.Context, set *set, log *slog.Logger) *keeping {
	k := new(keeping)
	k.silences, _ = silence.Open(ctx, nil, log) // which reads nothing
	k.silences.SetWindows(set.config.Maintenance)
	k.states = state.Open(ctx, set.stateOptions(k.silences, log))
	return k
}

// openKeeping opens what is kept in the state directory. mine is false if this agent may not write there. It returns an error
// only if others may change what is in the directory. The keeping must be closed after the agent.
func openKeeping(ctx context.Context, set *set, mine bool, log *slog.Logger) (*keeping, error) {
	if !mine {
		log.Warn("the states of scenarios, their alerts and silences are in memory only: after a restart every scenario begins anew, and alerts that are still true are told again")
		return inMemory(ctx, set, log), nil
	}
	k := new(keeping)
	if err := k.open(ctx, set, log); err != nil {
		k.close(log)
		return nil, err
	}
	return k, nil
}

func (k *keeping) open(ctx context.Context, set *set, log *slog.Logger) error {
	dir := set.target().StateDir
	var kept silence.Store
	store, err := silence.NewStore(ctx, dir, log)
	switch {
	case err == nil:
		kept, k.store = store, store
	case unsafeState(err) != nil:
		return unsafeState(err)
	default:
		log.Error("silences are in memory only: after a restart the alerts that they withhold are told", "error", err)
	}
	if k.silences, err = silence.Open(ctx, kept, log); err != nil {
		log.Error("some silences cannot be read: make them again", "error", err)
	}
	k.files = append(k.files, k.silences)
	k.silences.SetWindows(set.config.Maintenance)

	o := set.stateOptions(k.silences, log)
	db, err := database.Open(ctx, database.Options{Dir: dir, Name: state.File, Migrations: state.Migrations, Log: log})
	switch {
	case err == nil:
		k.db, o.DB, k.files = db, db, append(k.files, db)
	case unsafeState(err) != nil:
		return unsafeState(err)
	default:
		log.Error("the states of scenarios and their alerts are in memory only: after a restart every scenario begins anew, and alerts that are still true are told again", "error", err)
	}
	k.states = state.Open(ctx, o)

	if set.config.History == nil {
		return nil
	}
	k.history, err = history.Open(ctx, history.Options{Limits: *set.config.History, Dir: dir, Version: version(), Log: log})
	if err != nil {
		log.Warn("there is no history of the runs; history: off in stepwatch.yml keeps none without this warning", "error", err)
	}
	return nil
}

// stateOptions returns how the states of scenarios are judged.
func (s *set) stateOptions(quiet state.Quiet, log *slog.Logger) state.Options {
	return state.Options{Quiet: quiet, Flapping: s.config.Flapping, References: len(s.config.References) > 0, Log: log}
}

// apply takes what the configuration of a later set says.
func (k *keeping) apply(set *set) {
	k.silences.SetWindows(set.config.Maintenance)
	k.states.Configure(set.config.Flapping, len(set.config.References) > 0)
}

// close closes the files.
func (k *keeping) close(log *slog.Logger) {
	if k.history != nil { // the service has closed it, unless the agent did not start
		ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		if err := k.history.Close(ctx); err != nil {
			log.Error("the history was not closed well", "error", err)
		}
	}
	for _, f := range k.files {
		if err := f.Close(); err != nil {
			log.Error("a file of the state directory was not closed well", "error", err)
		}
	}
}
