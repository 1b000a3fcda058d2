# Does the cache before the site (Varnish, a CDN, nginx' proxy_cache) do its work, and is what stands behind it still right? A
# cache that keeps nothing is seen only when the visitors come; an origin that is broken only when the cache forgets.
#
# Replace the address by a page that every visitor gets alike, and the login by one that must never be kept. The cache says
# that it answered by Age, X-Cache, X-Varnish, Cache-Status or CF-Cache-Status; have it send one of them.
@every:1m @warn:2s
Feature: Cache

  # The first visit may be the one that the cache learns from.
  Scenario: The front page comes from the cache
    Given I go to "https://www.example.org/"
    When I go to "https://www.example.org/"
    Then the page should come from a cache
    And the page should be at most 1 hour old
    And I should see the heading "News of the Society"

  # A question that nobody asked before goes past the cache.
  Scenario: The server behind it is right
    When I go to "https://www.example.org/wp-login.php"
    Then the page should not come from a cache
    And I should see the button "Log In"
