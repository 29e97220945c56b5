/**
 * What a terminal could take for a command: C0 and C1 controls, DEL, and the marks that reorder or hide text
 * (Unicode bidirectional controls, zero-width characters, line separators; the "Trojan Source" attack).
 */
const unsafe = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g

/** One line of text that is safe on a terminal, whoever wrote it: line breaks become spaces, other controls go. */
export function printable(text: string): string {
  return text.replace(/[\r\n\t]+/g, ' ').replace(unsafe, '')
}

/** JSON that is safe on a terminal: the same characters, escaped. */
export function formatJson(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, undefined, indent) ?? 'null'
  return text.replace(unsafe, character =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
