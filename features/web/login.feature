# Can a member log in, stay logged in, and log out? Does the site work as a visitor sees it, with its scripts, frames
# and dialogs? The scenarios tagged @browser run in a real Chromium, the others without one.
#
# Replace addresses, labels and texts with those of your site. Needs in stepwatch.yml: the password of a member who
# exists only for this, under secrets, as "member".
@every:5m @warn:5s
Feature: Login

  Scenario: A member logs in and out
    Given I go to "https://www.example.org/login"
    And I fill in "User name" with "member"
    And I fill in "Password" with the secret "member"
    When I press "Log in"
    Then I should see the heading "Members"
    And the cookie "session" should be Secure
    And the cookie "session" should be HttpOnly
    When I press "Log out"
    And I go to "https://www.example.org/members"
    Then I should be on "https://www.example.org/login"

  Scenario: Members' pages are closed to strangers
    When I go to "https://www.example.org/members"
    Then I should be on "https://www.example.org/login"

  @browser
  Scenario: A member logs in with a browser
    Given I go to "https://www.example.org/login"
    And I fill in "User name" with "member"
    And I fill in "Password" with the secret "member"
    When I press "Log in"
    Then I should see the heading "Members"

  # A script writes its text after the page has loaded.
  @browser
  Scenario: The search shows what it found
    When I go to "https://www.example.org/search"
    Then I should see "42 documents" within 5s

  # A price in a frame, and a question in a dialog; the step answers it with yes.
  @browser
  Scenario: The shop takes an order
    When I go to "https://www.example.org/shop"
    Then I should see "12 pounds"
    When I accept the next dialog
    And I press "Order"
    Then the dialog said "Order it?"
    And I should see "Ordered"
