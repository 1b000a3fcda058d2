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
		if err := t.evaluate(ctx, id, &tokens, "snapshot"); err != nil {
			return nil, err
		}
		if len(tokens) == 0 || tokens[0] != "?" {
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
	depth, all := int64(-1), true
	got, err := command(ctx, t, dom.DescribeNode, dom.DescribeNodeParams{ObjectID: object, Depth: &depth, Pierce: &all})
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	in := t.contexts[t.worlds[id]]
	t.mu.Unlock()
	any := false
	for _, root := range closedTrees(got.Node, nil) {
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

// closedTrees adds the closed shadow trees of a document below a node to found.
func closedTrees(n *cdp.Node, found []cdp.BackendNodeID) []cdp.BackendNodeID {
	for _, root := range n.ShadowRoots {
		if root.ShadowRootType == cdp.ShadowRootTypeClosed {
			found = append(found, root.BackendNodeID)
		}
		if root.ShadowRootType != cdp.ShadowRootTypeUserAgent {
			found = closedTrees(root, found)
		}
	}
	for _, child := range n.Children {
		found = closedTrees(child, found)
	}
	return found
}
