# Does the cache in front of the site (Varnish, a CDN, nginx' proxy_cache) work, and is the server behind it still
# right? Without this check, you notice a cache that stores nothing only when visitors come, and a broken origin only
# when the cache expires.
#
# Replace the address with a page that is the same for every visitor, and the login with a page that must never be
# cached. The cache must announce its answers with Age, X-Cache, X-Varnish, Cache-Status or CF-Cache-Status. Configure
# it to send one of them.
@every:1m @warn:2s
Feature: Cache

  # The first visit may fill the cache.
  Scenario: The front page comes from the cache
    Given I go to "https://www.example.org/"
    When I go to "https://www.example.org/"
    Then the page should come from a cache
    And the page should be at most 1 hour old
    And I should see the heading "News of the Society"

  # A request that nobody made before bypasses the cache.
  Scenario: The server behind it is right
    When I go to "https://www.example.org/wp-login.php"
    Then the page should not come from a cache
    And I should see the button "Log In"
