// Moved: tensor/ needs it too.
#pragma once
#include "tensor/file.h"
