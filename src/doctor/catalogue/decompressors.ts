/** The programs that engines hand their layers to. */
import { disablePigz, withoutDecompressor } from './advice.ts'
import type { Entries } from './entry.ts'

export const decompressors = {
  DECOMPRESSOR_SETTING_INVALID: {
    severity: 'problem',
    en: {
      title: 'The variable that forbids the decompressor has a value that the engine does not understand',
      meaning:
        'Only 1, t, T, TRUE, true, True and 0, f, F, FALSE, false, False are understood. dockerd 18.02 to 19.03 fails every pull with others; later ones, and containerd, warn in their log and use the decompressor all the same.',
      advice: ['Set it to true, and restart the engine.'],
    },
    zh: {
      title: '用于禁用解压程序的变量的值引擎无法识别',
      meaning:
        '只识别 1、t、T、TRUE、true、True 和 0、f、F、FALSE、false、False。dockerd 18.02 至 19.03 遇到其他值时所有拉取失败；更新的版本和 containerd 只在日志中警告，仍然使用解压程序。',
      advice: ['将其设为 true 并重启引擎。'],
    },
  },
  DECOMPRESSOR_SETTING_IGNORED: {
    severity: 'warning',
    en: {
      title: 'A variable is set that this engine does not read',
      meaning:
        'MOBY_DISABLE_PIGZ is read by dockerd alone, CONTAINERD_DISABLE_PIGZ by containerd and buildkitd alone; podman and CRI-O read neither.',
      advice: ['Set the variable that this engine reads.'],
    },
    zh: {
      title: '设置了该引擎不读取的变量',
      meaning:
        'MOBY_DISABLE_PIGZ 只有 dockerd 读取，CONTAINERD_DISABLE_PIGZ 只有 containerd 和 buildkitd 读取；podman 和 CRI-O 都不读取。',
      advice: ['设置该引擎所读取的变量。'],
    },
  },
  DECOMPRESSOR_FAULTY: {
    severity: 'problem',
    en: {
      title: 'A decompressor that the engine runs failed its probe',
      meaning: 'It hung, or gave wrong bytes, on a stream that it must be able to decompress. Pulls will hang or fail.',
      advice: [disablePigz.en, withoutDecompressor.en],
    },
    zh: {
      title: '引擎使用的解压程序未通过检验',
      meaning: '在它必须能解压的数据流上，它卡住或给出了错误的字节。拉取会卡住或失败。',
      advice: [disablePigz.zh, withoutDecompressor.zh],
    },
  },
  DECOMPRESSOR_UNPROVEN: {
    severity: 'note',
    en: {
      title: 'The engine hands its layers to a program that was not probed',
      meaning: 'Nothing is known against it.',
      advice: ['windlass probe PATH tests it in some seconds.'],
    },
    zh: {
      title: '引擎把层交给一个未经检验的程序',
      meaning: '没有已知的问题。',
      advice: ['windlass probe 路径 可在数秒内检验它。'],
    },
  },
  DECOMPRESSOR_CERTIFIED: {
    severity: 'ok',
    en: {
      title: 'The engine’s decompressor is certified',
      meaning: 'It passed every shape of the probe on this host.',
      advice: [],
    },
    zh: { title: '引擎的解压程序已通过认证', meaning: '它在本机通过了检验的所有形态。', advice: [] },
  },
  DECOMPRESSOR_IN_PROCESS: {
    severity: 'ok',
    en: {
      title: 'The engine decompresses in its own process',
      meaning: 'No program of the host is used for gzip.',
      advice: [],
    },
    zh: { title: '引擎在自身进程内解压', meaning: 'gzip 不使用主机上的程序。', advice: [] },
  },
  DECOMPRESSOR_LEFT_OVER: {
    severity: 'warning',
    en: {
      title: 'A decompressor is left over from a pull that is gone',
      meaning: 'The engine holds no end of its pipes any more: nobody will read what it writes.',
      advice: ['It may be ended.'],
    },
    zh: {
      title: '有解压程序是已消失的拉取遗留下来的',
      meaning: '引擎已不持有其管道的任何一端：没有人会读取它的输出。',
      advice: ['可以结束它。'],
    },
  },
  ZSTD_UNSUPPORTED: {
    severity: 'warning',
    en: {
      title: 'This docker cannot read zstd layers',
      meaning: 'dockerd before 23.0 takes them for plain tars and fails with "archive/tar: invalid tar header".',
      advice: ['Upgrade docker, or let windlass convert the image.'],
    },
    zh: {
      title: '该 docker 无法读取 zstd 层',
      meaning: '23.0 之前的 dockerd 把它们当作普通 tar，报错 "archive/tar: invalid tar header"。',
      advice: ['升级 docker，或用 windlass 转换镜像。'],
    },
  },
} as const satisfies Entries
