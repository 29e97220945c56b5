/** A plot with logarithmic axes, as SVG that reads on a light and on a dark page. */
export interface Plot {
  readonly title: string
  readonly yTitle: string
  readonly lines: readonly Line[]
}

interface Line {
  readonly name: string
  readonly points: readonly Point[]
}

interface Point {
  readonly x: number
  readonly y: number
}

const width = 720
const height = 360
const frame = { left: 60, right: 150, top: 36, bottom: 40 }
const colours = ['#d9480f', '#1971c2', '#2f9e44', '#9c36b5', '#e8a100', '#0c8599', '#868e96', '#c2255c']

export function drawPlot({ title, yTitle, lines }: Plot): string {
  const all = lines.flatMap(({ points }) => points)
  const toX = scale(
    all.map(({ x }) => x),
    [frame.left, width - frame.right],
  )
  const toY = scale(
    all.map(({ y }) => y),
    [height - frame.bottom, frame.top],
  )
  const parts = [
    text(title, { x: frame.left, y: 20, size: 14 }),
    text(yTitle, { x: 4, y: frame.top - 12 }),
    ...toX.ticks.map(tick => rule(toX.at(tick), frame.top, toX.at(tick), height - frame.bottom)),
    ...toY.ticks.map(tick => rule(frame.left, toY.at(tick), width - frame.right, toY.at(tick))),
    ...toX.ticks.map(tick => text(short(tick), { x: toX.at(tick), y: height - frame.bottom + 18, anchor: 'middle' })),
    ...toY.ticks.map(tick => text(short(tick), { x: frame.left - 8, y: toY.at(tick) + 4, anchor: 'end' })),
    ...lines.map((line, i) => drawLine(line, colours[i % colours.length] ?? '', { toX, toY })),
    ...drawNames(lines, toY),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" fill="#808080">\n${parts.join('\n')}\n</svg>\n`
}

interface Scale {
  at(value: number): number
  readonly ticks: readonly number[]
}

/** From the power of ten below the least value to the one above the largest. */
function scale(values: readonly number[], [from, to]: readonly [number, number]): Scale {
  const low = Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))
  return {
    at: value => round(from + ((Math.log10(value) - low) / (high - low)) * (to - from)),
    ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
  }
}

function drawLine({ points }: Line, colour: string, { toX, toY }: { toX: Scale; toY: Scale }): string {
  const places = points.map(({ x, y }) => `${toX.at(x)},${toY.at(y)}`)
  const dots = places
    .map(place => place.split(','))
    .map(([x, y]) => `<circle cx="${x}" cy="${y}" r="3" fill="${colour}"/>`)
  return `<polyline points="${places.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>${dots.join('')}`
}

/** Beside the ends of the lines, moved apart where they would lie over each other. */
function drawNames(lines: readonly Line[], toY: Scale): string[] {
  const ends = lines.map(({ name, points }, i) => ({
    name,
    y: toY.at(points.at(-1)?.y ?? 1),
    colour: colours[i % colours.length],
  }))
  let below = -Infinity
  return ends
    .sort((a, b) => a.y - b.y)
    .map(({ name, y, colour }) => {
      below = Math.max(y, below + 14)
      return text(name, { x: width - frame.right + 10, y: below + 4, fill: colour })
    })
}

function rule(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="#808080" stroke-opacity="0.3"/>`
}

interface TextStyle {
  readonly x: number
  readonly y: number
  readonly size?: number
  readonly anchor?: string
  readonly fill?: string | undefined
}

function text(words: string, { x, y, size = 12, anchor = 'start', fill }: TextStyle): string {
  const colour = fill === undefined ? '' : ` fill="${fill}"`
  return `<text x="${x}" y="${round(y)}" font-size="${size}" text-anchor="${anchor}"${colour}>${words}</text>`
}

function short(value: number): string {
  if (value >= 1e9) return `${value / 1e9} G`
  if (value >= 1e6) return `${value / 1e6} M`
  return value >= 1e4 ? `${value / 1e3} k` : String(Number(value.toPrecision(3)))
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
