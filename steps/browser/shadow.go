package browser

import (
	"context"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/runtime"
)

// A closed shadow tree is hidden from all scripts of its page, ours included, but not from its visitors. The browser
// hands it to our script.

// patience is how many times longer than the search for closed shadow trees took a glance does without another one, for
// it takes long on a large page.
const patience = 10

// tokens reads one document as the script writes it, with its closed shadow trees. A glance may miss some that were
// added just before.
func (t *Tab) tokens(ctx context.Context, id cdp.FrameID, glance bool) (tokens []string, err error) {
	for range 8 { // a closed tree may hold others
		tokens = nil
		if err := t.evaluate(ctx, id, &tokens, "snapshot", t.nodes().Most, levelsLimit.Most); err != nil {
			return nil, err
		}
		switch {
		case len(tokens) == 0:
			return nil, nil
		case tokens[0] == "!":
			return nil, t.nodes().Exceeded()
		case tokens[0] == "^":
			return nil, levelsLimit.Exceeded()
		case tokens[0] != "?":
			return tokens, nil
		}
		tokens = tokens[1:]
		if glance && time.Since(t.pierced) < patience*t.piercing {
			return tokens, nil
		}
		if more, err := t.pierce(ctx, id); err != nil || !more {
			return tokens, err
		}
	}
	return tokens, nil
}

// pierce tells the script in a document the closed shadow trees, and reports whether any is new.
func (t *Tab) pierce(ctx context.Context, id cdp.FrameID) (bool, error) {
	start := time.Now()
	defer func() { t.pierced, t.piercing = time.Now(), time.Since(start) }()
	object, err := t.handle(ctx, id, "stepwatch.piercing()")
	if err != nil {
		return false, err
	}
	defer t.forget(ctx, object)
	found, err := t.closedTrees(ctx, object)
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	in := t.contexts[t.worlds[id]]
	t.mu.Unlock()
	all, any := true, false
	for _, root := range found {
		tree, err := command(ctx, t, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: root, ExecutionContextID: in})
		if err != nil {
			return false, err
		}
		told, err := command(ctx, t, runtime.CallFunctionOn, runtime.CallFunctionOnParams{ObjectID: tree.Object.ObjectID,
			FunctionDeclaration: "function() { return stepwatch.shade(this); }", ReturnByValue: &all})
		t.forget(ctx, tree.Object.ObjectID)
		if err != nil {
			return false, err
		}
		any = any || told.Result != nil && string(told.Result.Value) == "true"
	}
	return any, nil
}

// describedLevels is how many levels of a document are described at once. The browser cannot write an answer with more than
// 300 nested lists and objects: two for a level, and two more for a shadow tree, which is no level.
const describedLevels = 60

// closedTrees returns the closed shadow trees of a document.
func (t *Tab) closedTrees(ctx context.Context, root runtime.RemoteObjectID) (found []cdp.BackendNodeID, err error) {
	levels, all := int64(describedLevels), true
	next := []dom.DescribeNodeParams{{ObjectID: root}}
	described := map[cdp.BackendNodeID]bool{} // in parts of their own
	var look func(n *cdp.Node)
	look = func(n *cdp.Node) {
		for _, root := range n.ShadowRoots {
			if root.ShadowRootType == cdp.ShadowRootTypeClosed {
				found = append(found, root.BackendNodeID)
			}
			if root.ShadowRootType != cdp.ShadowRootTypeUserAgent {
				look(root)
			}
		}
		for _, child := range n.Children {
			look(child)
		}
		if n.ChildNodeCount > 0 && len(n.Children) == 0 && !described[n.BackendNodeID] { // deeper than was asked for
			described[n.BackendNodeID] = true
			next = append(next, dom.DescribeNodeParams{BackendNodeID: n.BackendNodeID})
		}
	}
	for len(next) > 0 {
		of := next[len(next)-1]
		next = next[:len(next)-1]
		of.Depth, of.Pierce = &levels, &all
		got, err := command(ctx, t, dom.DescribeNode, of)
		if err != nil {
			return nil, err
		}
		look(got.Node)
	}
	return found, nil
}
