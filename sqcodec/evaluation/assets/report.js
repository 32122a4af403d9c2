"use strict";
// Players of one clip share their position: starting one goes on where the other was.
for (const clip of document.querySelectorAll(".clip")) {
  const players = [...clip.querySelectorAll(".player")];
  let position = 0;
  players.forEach((player) => {
    const audio = player.querySelector("audio"), line = player.querySelector("i");
    const go = (time) => { position = time; audio.currentTime = time; audio.play(); };
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
      if (Math.abs(audio.currentTime - position) > 0.05 && position < audio.duration - 0.05) audio.currentTime = position;
      player.classList.add("playing");
    });
    audio.addEventListener("pause", () => player.classList.remove("playing"));
    audio.addEventListener("ended", () => { position = 0; });
    audio.addEventListener("seeked", () => { position = audio.currentTime; });
    audio.addEventListener("timeupdate", () => {
      if (!audio.paused) position = audio.currentTime;
      line.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
    });
    player.querySelector(".picture").addEventListener("click", (event) => {
      const box = event.currentTarget.getBoundingClientRect();
      go(((event.clientX - box.left) / box.width) * audio.duration);
    });
  });
  clip.addEventListener("keydown", (event) => {
    const chosen = players[Number(event.key) - 1];
    if (chosen) { chosen.querySelector("audio").play(); event.preventDefault(); }
  });
}
// A click on a column's head sorts the table by it; a second click turns the order.
for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const rows = [...table.tBodies[0].rows];
    const turn = head.dataset.order === "up" ? -1 : 1;
    head.dataset.order = turn === 1 ? "up" : "down";
    const value = (row) => { const text = row.cells[column].textContent, number = parseFloat(text.replace("−", "-"));
      return Number.isNaN(number) ? text : number; };
    rows.sort((a, b) => { const x = value(a), y = value(b);
      return turn * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y))); });
    table.tBodies[0].append(...rows);
  }));
}
