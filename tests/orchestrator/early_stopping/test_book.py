from __future__ import annotations

from orchestrator.early_stopping.book import CurveBook


def filled(num: int, num_founders: int = 0, most_peers: int = 4) -> CurveBook:
    """So many trials, each trained to its end, with its number as its sealed loss."""
    book = CurveBook(num_founders, most_peers)
    for number in range(num):
        book.add_point(f"t{number}", number, 10, 1.0)
        book.finish(f"t{number}", float(number))
    return book


def finals(book: CurveBook, trial_id: str = "", horizon: int | None = None) -> list[float | None]:
    return [peer.final for peer in book.peers(trial_id, horizon)]


def test_peers_are_the_founders_and_the_latest_that_ended_and_that_run() -> None:
    book = filled(50, num_founders=2)
    for number in range(50, 60):
        book.add_point(f"t{number}", number, 10, 1.0)
    assert finals(book) == [0.0, 1.0, *(46.0, 47.0, 48.0, 49.0), *[None] * 4]
    assert finals(book, "t48") == [0.0, 1.0, *(45.0, 46.0, 47.0, 49.0), *[None] * 4], "nobody is its own peer"


def test_from_further_back_others_are_the_latest() -> None:
    book = filled(50, num_founders=2)
    assert finals(book, horizon=47) == [0.0, 1.0, 44.0, 45.0, 46.0, 47.0]
    assert finals(book, horizon=0) == [0.0]


def test_in_which_order_they_ended_does_not_matter() -> None:
    there, back = CurveBook(0, 4), CurveBook(0, 4)
    for book, numbers in ((there, range(6)), (back, range(5, -1, -1))):
        for number in numbers:
            book.add_point(f"t{number}", number, 10, 1.0)
        for number in numbers:
            book.finish(f"t{number}", float(number))
    assert finals(there) == finals(back) == [2.0, 3.0, 4.0, 5.0]


def test_what_is_kept_does_not_grow() -> None:
    assert len(filled(1000, num_founders=2)) == 2 + 2 * 4


def test_who_failed_is_nobodys_peer_and_a_late_point_of_who_was_let_go_does_no_harm() -> None:
    book = filled(20)
    book.forget("t19")
    book.forget("t0")
    assert finals(book) == [15.0, 16.0, 17.0, 18.0]
    book.add_point("t1", 1, 20, 1.0)
    book.stop("t1")
    assert finals(book) == [15.0, 16.0, 17.0, 18.0]
